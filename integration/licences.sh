#!/usr/bin/env bash
# The licences of every dependency against the list in deny.toml, and the advisories
# where the means to look them up are there.
set -euo pipefail
cd "$(dirname "$0")/.."

if command -v cargo-deny >/dev/null; then
    cargo deny check
    exit
fi

cargo metadata --format-version 1 --locked | python3 -c '
import json, re, sys
allowed = set(re.findall(r"\"([^\"]+)\"", re.search(r"allow = \[(.*?)\]", open("deny.toml").read(), re.S).group(1)))
bad, seen = [], 0
def passes(expression):
    text = expression.replace("/", " OR ")
    if text in allowed: return True
    choices = [c.strip(" ()") for c in text.split(" OR ")]
    return any(all(t.strip(" ()") in allowed for t in c.split(" AND ")) for c in choices)
for package in json.load(sys.stdin)["packages"]:
    seen += 1
    if not passes(package.get("license") or ""):
        bad.append("%s %s: %s" % (package["name"], package["version"], package.get("license")))
print("licences: %d packages, %d not in the list of deny.toml" % (seen, len(bad)))
sys.exit("\n".join(bad) if bad else 0)'

if command -v cargo-audit >/dev/null; then
    cargo audit
else
    why="advisories (neither cargo-deny nor cargo-audit is installed)"
    echo "not checked: $why"
    [ -z "${LACRE_NOT_RUN:-}" ] || echo "$why" >>"$LACRE_NOT_RUN"
fi
