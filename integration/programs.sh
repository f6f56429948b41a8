#!/bin/bash
# Looks whether each program that the code names is one of integration/packages: another may
# be there on one machine, and be missing on the next.
set -euo pipefail
cd "$(dirname "$0")/.."

# PROGRAM FILE of each; the last part of a path, and not the program's own.
named() {
    grep -roE --include='*.rs' --exclude-dir=target '\b(Command::new|command)\("[^"]+"' . |
        sed -nE '/"\/proc\/self\/exe"/d; s|^\./([^:]*):.*\("(.*/)?([^/]*)"$|\3 \1|p' | sort -u
}

unlisted=$(awk '
    FNR == NR { if (!/^#/) for (i = 3; i <= NF; i++) listed[$i]; next }
    !($1 in listed) { print "  " $1 ", by " $2 }' integration/packages <(named))
[ -z "$unlisted" ] || {
    echo "programs that no package of integration/packages brings:"
    echo "$unlisted"
    exit 1
}
echo "programs: all $(named | cut -d ' ' -f 1 | sort -u | wc -l) that are named are in integration/packages"
