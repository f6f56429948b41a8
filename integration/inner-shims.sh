#!/bin/bash
# Builds the inner shims that the tests put beneath lacre instead of runc's:
#   inner-shims.sh        those that fail on command (integration/inner-shims), into target
#   inner-shims.sh check  looks at their format and lints
#   inner-shims.sh rust   containerd's own in Rust, a published crate, into the cache
# Idempotent, and silent when all is there.
#
# The cache is $LACRE_CACHE, by default .cache at the root of the repository:
#   rust-shim/bin/containerd-shim-runc-v2-rs
set -euo pipefail
umask 022

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${LACRE_CACHE:-$root/.cache}
version=0.2.0

manifest=$root/integration/inner-shims/Cargo.toml
target=${CARGO_TARGET_DIR:-$root/target}/inner-shims

failing() { cargo build --quiet --locked --manifest-path "$manifest" --target-dir "$target"; }

check() {
    cargo fmt --manifest-path "$manifest" --check
    cargo clippy --quiet --locked --manifest-path "$manifest" --target-dir "$target" \
        --all-targets -- -D warnings
}

rust() {
    local folder=$cache/rust-shim
    mkdir -p "$folder"
    exec 9>"$folder/.lock"
    flock 9
    # Silent where this version is there. As it is published, with the versions that its authors
    # locked; unoptimised, which is built in a third of the time.
    cargo install --quiet --locked --debug --root "$folder" --target-dir "$folder/target" \
        --version "=$version" containerd-runc-shim
    rm -rf "$folder/target"
}

case ${1:-failing} in
failing | check | rust) "${1:-failing}" ;;
*) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
