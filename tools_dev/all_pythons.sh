#!/bin/sh
# Builds wsdirect and runs its quick tests on every further CPython that this machine has, each in
# an environment of its own (.venv-3.12, ...), at the same time where they can be kept apart. One that
# is missing is named, and is no failure. What failed is said again at the end, where it is found even
# if only the end was kept.
set -eu
cd "$(dirname "$0")/.."

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

# Runs a command where nobody else's ports and socket names are, if the system permits it.
apart() {
    unshare -n sh -c 'ip link set lo up && exec "$@"' sh "$@"
}

# Builds and tests with interpreter $2 in environment $1; leaves $1.txt, and $1.passed if all is well.
run() {
    PYTHON=$2 VENV=$1 sh bootstrap test && $apart "$1/bin/pytest" -q -m 'not slow' && : >"$1.passed"
}

apart=
if apart true 2>/dev/null; then
    apart=apart
fi

tested=
for version in ${PYTHONS:-3.12 3.13}; do
    python=$(find_python "$version")
    if [ -z "$python" ]; then
        echo "test-all-pythons: no CPython $version here; left out"
        continue
    fi
    venv=.venv-$version
    rm -f "$venv.passed"
    echo "test-all-pythons: CPython $version; how far it is: tail -f $venv.txt"
    run "$venv" "$python" >"$venv.txt" 2>&1 &
    tested="$tested $venv"
    [ -n "$apart" ] || wait # they would meet each other
done
wait

failed=
for venv in $tested; do
    echo "test-all-pythons: $venv: $(grep -E '^[0-9]+ (passed|failed)' "$venv.txt" || echo 'no tests were run')"
    [ -e "$venv.passed" ] || failed="$failed $venv"
done
for venv in $failed; do
    echo "test-all-pythons: failed in $venv" >&2
    if grep -q '^=* FAILURES =*$\|^=* ERRORS =*$' "$venv.txt"; then
        sed -n '/^=* \(FAILURES\|ERRORS\) =*$/,/^[0-9]* \(passed\|failed\)/p' "$venv.txt" | tail -n 250 >&2
    else
        tail -n 50 "$venv.txt" >&2
    fi
done
[ -z "$failed" ]
