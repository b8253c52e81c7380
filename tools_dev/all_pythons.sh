#!/bin/sh
# Builds wsdirect and runs its quick tests on every further CPython that this machine has, each in
# an environment of its own (.venv-3.12, ...). One that is missing is named, and is no failure.
# What failed is said again at the end, where it is found even if only the end was kept.
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

# Runs the tests of environment $1, shown as they run and kept in $1/tests.txt.
run_tests() {
    { "$1/bin/pytest" -q -m 'not slow' 2>&1 && : >"$1/passed"; } | tee "$1/tests.txt"
    [ -e "$1/passed" ]
}

for version in ${PYTHONS:-3.12 3.13}; do
    python=$(find_python "$version")
    if [ -z "$python" ]; then
        echo "test-all-pythons: no CPython $version here; left out"
        continue
    fi
    echo "test-all-pythons: CPython $version"
    rm -f ".venv-$version/passed" ".venv-$version/tests.txt"
    if ! PYTHON=$python VENV=.venv-$version sh bootstrap test || ! run_tests ".venv-$version"; then
        failed="$failed $version"
    fi
done

for version in $failed; do
    echo "test-all-pythons: failed on $version" >&2
    if [ -e ".venv-$version/tests.txt" ]; then
        sed -n '/ short test summary info /,/^Exception ignored/p' ".venv-$version/tests.txt" | head -n 60 >&2
    fi
done
[ -z "$failed" ]
