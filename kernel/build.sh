#!/bin/bash
# Builds the kernel with container-IMA:
# build.sh [base|debug|bpf|uml|debian] [image|deb|kselftest|path].
# Prints the path of the image, or of the folder of the packages, or of the folder of the
# series' own kselftest, linked to need nothing of where it runs. With path nothing is
# built, and apt is not asked: it prints where the image of the source that was fetched last
# is, or would be, and fails if it is not there.
#
#   base    config/base.config on allnoconfig: a guest for QEMU
#   debug   base and config/debug.config: KASAN, kmemleak, lockdep
#   bpf     base and config/bpf.config: BTF and BPF LSM
#   uml     config/uml.config: user-mode Linux, with what debug has
#   debian  Debian's own configuration and CONFIG_IMA_CONTAINER: for a real machine (hours)
#
# LSMOD=FILE, for debian only: no modules but those that FILE names, as lsmod prints them
# (the kernel's own make localmodconfig).
#
# The source comes through apt, from the machine's own sources. Everything is kept in the
# cache, $LACRE_CACHE or .cache at the root of the repository, under kernel/: what is built
# under the hash of source version, configuration and patches. A build that was interrupted
# goes on where it was.
set -euo pipefail
umask 022

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${LACRE_CACHE:-$(dirname "$here")/.cache}/kernel
flavour=${1:-base} what=${2:-image}
jobs=${JOBS:-$(nproc)}
mkdir -p "$cache"
. "$here/source.sh"

# === what is to be built, and whether it is built already ===

fragments() {
    case $flavour in
    base) echo "$here/config/base.config" ;;
    debug | bpf) echo "$here/config/base.config" "$here/config/$flavour.config" ;;
    uml | debian) echo "$here/config/$flavour.config" ;;
    *) die "no such flavour: $flavour" ;;
    esac
}

# Names only: how large a module is and who uses it changes from one lsmod to the next.
modules() {
    awk '/^[ \t]*(#|$)/ || $1 == "Module" { next }
        $1 !~ /^[A-Za-z0-9_-]+$/ { exit 1 }
        { gsub(/-/, "_", $1); print $1 }' "$LSMOD" | sort -u
}

series_files() { sed "s|^|$patches/|" "$patches/series"; }

if [ "$what" = path ]; then
    # What was built last, though apt may know a newer source by now.
    version=$(cat "$cache/version" 2>/dev/null) ||
        die "none was built yet; run make kernel FLAVOUR=$flavour"
else
    version=$(source_version)
fi
read -ra fragments < <(fragments)
mapfile -t files < <(series_files)
modules=
if [ -n "${LSMOD:-}" ]; then
    [ "$flavour" = debian ] || die "LSMOD is for FLAVOUR=debian; $flavour has no modules"
    [ -f "$LSMOD" ] || die "LSMOD: no such file: $LSMOD"
    modules=$(modules) || die "LSMOD: not what lsmod prints: $LSMOD"
    [ -n "$modules" ] || die "LSMOD: names no module: $LSMOD"
fi
hash=$({ echo "$version" "$flavour"; cat "${fragments[@]}" "${files[@]}"
    [ -z "$modules" ] || echo "$modules"; } | sha256sum | cut -c1-16)
result=$cache/$hash

arch=x86_64 image=bzImage built=arch/x86/boot/bzImage
[ "$flavour" != uml ] || { arch=um image=linux built=linux; }

case $what in
image | path) done_mark=$result/$image ;;
deb) done_mark=$result/debs ;;
kselftest) done_mark=$result/kselftest ;;
*) die "image, deb, kselftest or path, not $what" ;;
esac
if [ -e "$done_mark" ]; then
    echo "$done_mark"
    exit 0
elif [ "$what" = path ]; then
    echo "$done_mark"
    die "none was built yet of these patches for $version; run make kernel FLAVOUR=$flavour"
fi

# === source: fetched once for each version, unpacked again when the patches change ===

exec 9>"$cache/lock"
flock 9

need bc bison ccache cpio flex gcc kmod libelf-dev libssl-dev make patch rsync xz-utils
[ "$flavour" != bpf ] || need dwarves
[ "$what" != deb ] || need debhelper dpkg-dev fakeroot
[ "$flavour" != debian ] || need dwarves python3

tree=$cache/tree
tree_hash=$({ echo "$version"; cat "${files[@]}"; } | sha256sum | cut -c1-16)
if [ "$(cat "$tree/.lacre-hash" 2>/dev/null)" != "$tree_hash" ]; then
    say "unpacking and patching"
    # tar brings back a file's old time, so make would not see that it is unpatched again.
    before=$(sed -n 's|^+++ b/||p' "$tree"/.lacre-patches 2>/dev/null || true)
    source_unpack "$version" "$tree"
    for p in "${files[@]}"; do
        patch -d "$tree" -p1 -s --fuzz=0 <"$p" || die "does not apply: $p"
    done
    for p in $before; do [ ! -e "$tree/$p" ] || touch "$tree/$p"; done
    cat "${files[@]}" >"$tree/.lacre-patches"
    echo "$tree_hash" >"$tree/.lacre-hash"
fi

# === kselftest: of the tree alone, whatever the configuration ===

if [ "$what" = kselftest ]; then
    new=$cache/$hash.new
    rm -rf "$new"
    mkdir -p "$new/kselftest" "$new/include/linux" "$result"
    # In place of headers_install, which takes the whole tree.
    cp "$tree/include/uapi/linux/ima_container.h" "$new/include/linux/"
    make -s -C "$tree/tools/testing/selftests/ima" OUTPUT="$new/kselftest" CC=gcc \
        LDFLAGS=-static KHDR_INCLUDES="-isystem $new/include" >&2
    mv "$new/kselftest" "$result/"
    rm -rf "$new"
    echo "$done_mark"
    exit 0
fi

# === configuration ===

out=$cache/out-$flavour
mkdir -p "$out"
export CCACHE_DIR=$cache/ccache KBUILD_BUILD_TIMESTAMP='Thu Jan  1 00:00:00 UTC 1970'
export KBUILD_BUILD_USER=lacre KBUILD_BUILD_HOST=lacre
build() { make -s ARCH="$arch" -C "$tree" O="$out" CC="ccache gcc" -j"$jobs" "$@" </dev/null >&2; }

# Of a name that is set twice, the last one counts.
settings() { cat "${fragments[@]}" | tac | awk -F= '!/^CONFIG_/ || !seen[$1]++' | tac; }

if [ "$flavour" = debian ]; then
    need "linux-config-$series"
    xzcat "/usr/src/linux-config-$series/config.amd64_none_amd64.xz" >"$out/.config"
    settings >>"$out/.config"
    build olddefconfig
    if [ -n "$modules" ]; then
        # Not the file itself: Kconfig runs one that is executable.
        echo "$modules" >"$out/lsmod"
        build LSMOD="$out/lsmod" localmodconfig
        build olddefconfig
    fi
else
    settings >"$out/fragments"
    KCONFIG_ALLCONFIG=$out/fragments build allnoconfig
fi
# A line that Kconfig did not take is a mistake in the fragment.
while read -r line; do
    grep -qxF "$line" "$out/.config" || die "not possible in this kernel: $line"
done < <(settings | grep '^CONFIG_')

# === build ===

say "building $flavour of $version ($hash); the first time takes ten minutes on two cores, half an hour on busy ones"
new=$cache/$hash.new
rm -rf "$new"
if [ "$what" = image ]; then
    build "$image"
    mkdir -p "$new" "$result"
    cp "$out/.config" "$new/config"
    cp "$out/$built" "$new/$image"
    mv "$new/config" "$new/$image" "$result/"
    rmdir "$new"
else
    # They come to lie beside the output folder; without modules there are no headers.
    packages() { find "$cache" -maxdepth 1 -name 'linux-*' ! -name 'linux-source-*' "$@"; }
    packages -type f -delete
    DEB_BUILD_PROFILES=pkg.linux-upstream.nokerneldbg \
        build KDEB_PKGVERSION="${version%%~*}+lacre1" bindeb-pkg
    # The machine has its own.
    packages -name 'linux-libc-dev_*' -delete
    mkdir -p "$new" "$result"
    packages -name '*.deb' -exec mv -t "$new" {} +
    packages -type f -delete
    mv "$new" "$result/debs"
fi
echo "$done_mark"
