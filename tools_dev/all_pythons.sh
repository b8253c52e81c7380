#!/bin/sh
# Builds wsdirect and runs its quick tests on every further CPython that this machine has, each in
# an environment of its own (.venv-3.12, ...). One that is missing is named, and is no failure.
set -eu
cd "$(dirname "$0")/.."
failed=

# python3.12 on the path may be a shim with nothing behind it, so ask each candidate who it is.
find_python() {
    for candidate in "$HOME"/.pyenv/versions/"$1".*/bin/python "$(command -v "python$1" || true)"; do
        if [ "$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = "$1" ]
        then
            echo "$candidate"
            return
        fi
    done
}

for version in ${PYTHONS:-3.12 3.13}; do
    python=$(find_python "$version")
    if [ -z "$python" ]; then
        echo "test-all-pythons: no CPython $version here; left out"
        continue
    fi
    echo "test-all-pythons: CPython $version"
    if ! PYTHON=$python VENV=.venv-$version sh bootstrap test ||
        ! ".venv-$version/bin/pytest" -q -m 'not slow'
    then
        failed="$failed $version"
    fi
done

if [ -n "$failed" ]; then
    echo "test-all-pythons: failed on$failed" >&2
    exit 1
fi
