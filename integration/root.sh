#!/bin/bash
# Runs a command as on a machine that was installed a minute ago: root.sh COMMAND...
#
# In a root that holds a minimal Debian 12 with make, this machine's Rust, and nothing else.
# The repository lies at /src there, with what is built in it, and the command starts there.
# What the command installs is gone with it, so that what a script forgets to install is
# missing every time, and everywhere. The kernel, /dev, /sys, /proc and the network are the
# machine's.
#
# The machine's apt sources bring the packages. Kept in $LACRE_CACHE, by default
# ~/.cache/lacre, which has the same path inside:
#   root/HASH.tar   the minimal Debian; HASH is of its packages' versions, and of
#                   the machine's apt sources, which it has too
#   root/HASH.*     the copy that a run uses, removed by that run, or by the next one
#   root/debs       what apt has fetched inside
set -euo pipefail
umask 022

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export LACRE_CACHE=${LACRE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/lacre}
roots=$LACRE_CACHE/root
label=root
. "$root/integration/apt.sh"

# === the minimal Debian ===

# make is what the README takes for granted, beside Rust.
minimal=('?essential' '?priority(required)' apt make)

# What would be installed, with versions.
versions() {
    apt-get -qq -o Dir::State::status=/dev/null -o APT::Install-Recommends=false \
        --simulate install "${minimal[@]}" | sed -n 's/^Inst \([^ ]* ([^ ]*\).*/\1)/p'
}

# Prints the archive of the minimal Debian; makes it if it is not there.
archive() {
    local versions archive sources
    apt_get update || say "the package lists could not be read again; those of before will do"
    versions=$(versions)
    mapfile -t sources < <(sources)
    archive=$roots/$({ echo "$versions"; apt_options; cat "${sources[@]}"; } |
        sha256sum | cut -c 1-16).tar
    if [ ! -e "$archive" ]; then
        install_packages mmdebstrap
        say "making a minimal Debian 12 of $(wc -l <<<"$versions") packages"
        rm -f "$roots"/*.tar
        apt_options >"$roots/apt.conf"
        mmdebstrap --quiet --mode=root --variant=minbase --include=make \
            --aptopt="$roots/apt.conf" bookworm "$archive.part.tar" "${sources[@]}" >&2
        mv "$archive.part.tar" "$archive"
    fi
    echo "$archive"
}

# === a copy of it ===

# What this machine's package managers and resolver know, and a new machine would be told.
hand_over() {
    local path
    for path in /etc/apt/{auth.conf.d,keyrings,trusted.gpg.d} /usr/share/keyrings \
        /usr/local/share/ca-certificates; do
        [ -d "$path" ] || continue
        mkdir -p "$1$path"
        cp -Lrn "$path/." "$1$path/"
    done
    cp -L /etc/resolv.conf /etc/hosts "$1/etc/"
    # Where apt itself needs certificates, a machine has them from the start.
    if sources | xargs -d '\n' grep -qs 'https:'; then
        install -D -m 0644 -t "$1/etc/ssl/certs" /etc/ssl/certs/ca-certificates.crt
    fi
    mkdir -p "$1/root/.cargo"
    cp "${CARGO_HOME:-$HOME/.cargo}"/config{,.toml} "$1/root/.cargo/" 2>/dev/null || true
}

# Sets $copy. Whose lock nobody holds was left by a run that was killed.
make_copy() {
    local archive old
    mkdir -p "$roots/debs" "$LACRE_CACHE"
    exec 8>"$roots/lock"
    flock 8
    for old in "$roots"/*.lock; do
        [ -e "$old" ] && flock -n "$old" true || continue
        rm -rf --one-file-system "${old%.lock}" "$old"
    done
    archive=$(archive)
    copy=$(mktemp -d "${archive%.tar}.XXXXXX")
    # Whatever the command starts has it open too: what still runs keeps its root.
    exec 9>"$copy.lock"
    flock 9
    exec 8>&-
    chmod 0755 "$copy"
    tar -xf "$archive" --numeric-owner -C "$copy"
    hand_over "$copy"
    # It need not outlive a power cut.
    echo force-unsafe-io >"$copy/etc/dpkg/dpkg.cfg.d/unsafe-io"
    # Not by a mount: two runs at once would wait for each other's lock.
    find "$roots/debs" -name '*.deb' -exec cp -al -t "$copy/var/cache/apt/archives" {} +
}

# Keeps what apt has fetched, of each package for two months; ends what the command has left.
remove_copy() {
    local process words
    cp -aln "$copy"/var/cache/apt/archives/*.deb "$roots/debs/" 2>/dev/null || true
    find "$roots/debs" -name '*.deb' -mtime +60 -delete
    for process in /proc/[0-9]*; do
        [ "$process/root" -ef "$copy" ] || continue
        words=$(tr '\0' ' ' 2>/dev/null <"$process/cmdline") || true
        # Without words it is ending by itself.
        [ -z "$words" ] || say "the command has left running: $words"
        kill -KILL "${process##*/}" 2>/dev/null || true
    done
    rm -rf --one-file-system "$copy" "$copy.lock"
}

# === inside ===

# Of the machine's environment, what says how registries are reached and what lacre's own
# scripts read; nothing that says where programs or files of this machine are.
environment() {
    local name
    printf '%s\0' HOME=/root USER=root LANG=C.UTF-8 TERM="${TERM:-dumb}" \
        PATH=/opt/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
    while read -r name; do
        case $name in
        CARGO_HOME | CARGO_TARGET_DIR | CARGO_BUILD_TARGET_DIR) ;;
        CI | CARGO_* | LACRE_* | FUZZ_SECONDS | RUST_BACKTRACE | RUSTFLAGS | *_proxy | *_PROXY | SSL_CERT_FILE)
            printf '%s\0' "$name=${!name}" ;;
        esac
    done < <(compgen -e)
}

# Runs in a mount namespace of its own, which takes all mounts along when its last process ends.
enter() {
    local copy=$1 name registry sysroot; shift
    registry=${CARGO_HOME:-$HOME/.cargo}/registry
    sysroot=$(cd "$root" && rustc --print sysroot)
    [ "$sysroot" != /usr ] || die "Rust must have a folder of its own, as rustup gives it"
    mount_at() { mkdir -p "$copy$2" && mount "${@:3}" "$1" "$copy$2"; }
    mount --bind "$copy" "$copy"
    for name in dev proc sys; do mount_at "/$name" "/$name" --rbind; done
    mount_at run /run -t tmpfs -o mode=0755
    mount_at "$root" /src --bind
    mkdir -p "$registry"
    mount_at "$registry" /root/.cargo/registry --bind
    mount_at "$LACRE_CACHE" "$LACRE_CACHE" --bind
    mount_at "$sysroot" /opt/rust --bind
    mount -o remount,bind,ro "$copy/opt/rust"
    mapfile -d '' -t environment < <(environment)
    cd "$copy"
    mkdir .old
    pivot_root . .old
    # By way of chroot: the old root goes while nothing of it is open.
    exec chroot . /usr/bin/env -i "${environment[@]}" /bin/bash -c '
        umount -l /.old && rmdir /.old && cd /src && exec "$@"' root "$@"
}

main() {
    if [ "${1:-}" = --enter ]; then
        shift
        enter "$@"
    fi
    [ "$(id -u)" = 0 ] || die "needs root, for the mounts"
    [ $# -gt 0 ] || die "which command?"
    # There is no git inside.
    LACRE_COMMIT=${LACRE_COMMIT:-$(git -C "$root" describe --always --dirty --abbrev=12)} || true
    export LACRE_COMMIT
    make_copy
    trap remove_copy EXIT
    unshare --mount --propagation private "${BASH_SOURCE[0]}" --enter "$copy" "$@"
    exit
}
main "$@"
