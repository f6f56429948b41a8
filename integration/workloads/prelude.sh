set -euo pipefail
# What each script begins with. A script works in rounds until its time is over:
#   while more; do …; done
# and compares what its program answers with what it must be:
#   equal WHAT EXPECTED ACTUAL
# Its last line tells how much that was; without it, the run has failed.
rounds=0 checks=0
more() {
    [ "$rounds" = 0 ] || [ "$SECONDS" -lt "${WORK_SECONDS:-1}" ] || return 1
    rounds=$((rounds + 1))
}
wrong() { echo "WRONG: $*"; exit 9; }
equal() {
    [ "$2" = "$3" ] || wrong "$1: '$2' was expected, and it is '$3'"
    checks=$((checks + 1))
}
# until_ready COMMAND...: until it succeeds, for a minute.
until_ready() {
    local end=$((SECONDS + 60))
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || wrong "not within a minute: $*"
        sleep 0.1
    done
}
finished() {
    local status=$?
    [ "$status" != 0 ] || echo "worked $SECONDS s, $rounds rounds, $checks checks"
    exit "$status"
}
trap finished EXIT
