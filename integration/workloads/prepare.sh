#!/bin/bash
# Makes the images of the workloads, of Debian's packages: prepare.sh [IMAGE...], all of
# integration/workloads/images without a name. Idempotent, and silent when all is there.
#
# In $LACRE_CACHE, by default .cache at the root of the repository:
#   workloads/IMAGE.tar        an OCI layout, which leads to
#   workloads/IMAGE-HASH.tar   where HASH is of the packages' versions and of what is made of them
#   workloads/base-HASH        the minimal Debian that all of them stand on, unpacked
#   workloads/debs             what apt has fetched
#
# The machine's apt sources bring the packages, and its apt fetches and installs them, from
# outside: nothing of this machine is in an image but the time of its making.
set -euo pipefail
umask 022

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cache=${LACRE_CACHE:-$root/.cache}/workloads
here=$root/integration/workloads
label=workloads
. "$root/integration/apt.sh"

minimal=('?essential' '?priority(required)' apt)

packages_in() { awk -v image="$1" '$1 == image { for (i = 2; i <= NF; i++) print $i }' "$here/images"; }

# versions PACKAGE...: what would be installed beside the minimal Debian, with versions.
versions() {
    apt-get -qq -o Dir::State::status=/dev/null -o APT::Install-Recommends=false \
        --simulate install "${minimal[@]}" "$@" | sed -n 's/^Inst \([^ ]* ([^ ]*\).*/\1)/p'
}

hash_of() { sha256sum | cut -c 1-16; }

# name_of IMAGE|base: what it is called in the cache, by all that it is made of.
name_of() {
    local packages
    mapfile -t packages < <(packages_in "$1")
    {
        versions "${packages[@]}" || return
        [ "$1" = base ] || cat "$here/prepare.sh"
        [ ! -d "$here/files/$1" ] || (cd "$here/files/$1" &&
            find . -type f -print0 | sort -z | xargs -0 sha256sum)
    } | hash_of | sed "s/^/$1-/"
}

# === layers ===

# Makes the unpacked minimal Debian $1.
make_base() {
    local base=$1 sources
    say "making a minimal Debian 12"
    mapfile -t sources < <(sources)
    rm -rf --one-file-system "$cache"/base-*
    apt_options >"$cache/mmdebstrap.conf"
    mkdir -p "$base.part"
    mmdebstrap --quiet --mode=root --variant=minbase --aptopt="$cache/mmdebstrap.conf" \
        --format=tar bookworm - "${sources[@]}" | tar -x --numeric-owner -C "$base.part"
    mv "$base.part" "$base"
}

# What apt is told that works on the tree $1 from outside.
apt_conf() {
    apt_options
    cat <<END
Dir "$1/";
Dir::State::lists "/var/lib/apt/lists/";
DPkg::Chroot-Directory "$1";
DPkg::Options:: "--force-unsafe-io";
DPkg::Options:: "--path-exclude=/usr/share/doc/*";
DPkg::Options:: "--path-exclude=/usr/share/man/*";
APT::Architecture "amd64";
APT::Install-Recommends "false";
APT::Sandbox::User "root";
END
}

# in_tree TREE COMMAND...: with what programs take for granted mounted in the tree.
in_tree() {
    local tree=$1 name; shift
    for name in dev proc sys; do mount --rbind "/$name" "$tree/$name"; done
    "$@"
    for name in dev proc sys; do umount -R "$tree/$name"; done
}

# install_packages_in TREE PACKAGE...
install_packages_in() {
    local tree=$1; shift
    mkdir -p "$cache/debs/partial" "$tree/var/cache/apt/archives"
    mount --bind "$cache/debs" "$tree/var/cache/apt/archives"
    # No package starts its service.
    printf '#!/bin/sh\nexit 101\n' >"$tree/usr/sbin/policy-rc.d"
    chmod 0755 "$tree/usr/sbin/policy-rc.d"
    APT_CONFIG=$cache/apt.conf DEBIAN_FRONTEND=noninteractive \
        PATH=/usr/sbin:/usr/bin:/sbin:/bin apt-get -qq -y install "$@" </dev/null >&2
    rm "$tree/usr/sbin/policy-rc.d"
    umount "$tree/var/cache/apt/archives"
}

# build_in TREE: what has to be compiled, by its build.sh.
build_in() {
    chroot "$1" /usr/bin/env -i HOME=/root LANG=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin \
        sh -e /build.sh >&2
    rm "$1/build.sh"
}

# What overlayfs has for "gone" becomes what an image's layer has for it.
whiteouts() {
    python3 - "$1" <<'END'
import os, stat, sys
for folder, names, files in os.walk(sys.argv[1]):
    for name in files:
        path = os.path.join(folder, name)
        found = os.lstat(path)
        if stat.S_ISCHR(found.st_mode) and found.st_rdev == 0:
            os.unlink(path)
            open(os.path.join(folder, ".wh." + name), "w").close()
    try:
        opaque = os.getxattr(folder, "trusted.overlay.opaque") == b"y"
    except OSError:
        opaque = False
    if opaque:
        open(os.path.join(folder, ".wh..wh..opq"), "w").close()
END
}

# layer TREE LAYOUT: the tree becomes a layer of the layout; prints its digest and its size.
layer() {
    local part=$2/part.tar digest
    tar -c --numeric-owner --sort=name --xattrs --xattrs-include='security.*' -C "$1" -f "$part" .
    digest=$(sha256sum <"$part" | cut -d ' ' -f 1)
    mv "$part" "$2/blobs/sha256/$digest"
    echo "$digest $(stat -c %s "$2/blobs/sha256/$digest")"
}

# Prints the descriptor of standard input, which becomes a blob of the layout $1, of kind $2.
blob() {
    local part=$1/part digest
    cat >"$part"
    digest=$(sha256sum <"$part" | cut -d ' ' -f 1)
    printf '{"mediaType":"%s","digest":"sha256:%s","size":%s}' "$2" "$digest" "$(stat -c %s "$part")"
    mv "$part" "$1/blobs/sha256/$digest"
}

# === an image ===

# overlay WORK NAME LOWER...: mounts WORK/NAME, whose changes go to WORK/NAME.up.
overlay() {
    local work=$1 name=$2; shift 2
    mkdir -p "$work/$name" "$work/$name.up" "$work/$name.work"
    mount -t overlay overlay "$work/$name" -o "redirect_dir=off,metacopy=off,index=off,\
lowerdir=$(IFS=:; echo "$*"),upperdir=$work/$name.up,workdir=$work/$name.work"
}

make_image() {
    local image=$1 base=$2 archive=$3 work=$cache/$1.work packages layout digest size config manifest
    local -a layers=() ids=()
    mapfile -t packages < <(packages_in "$image")
    say "making the image $image, of ${packages[*]}"
    rm -rf --one-file-system "$work"
    layout=$work/layout
    mkdir -p "$layout/blobs/sha256"
    overlay "$work" packages "$base"
    apt_conf "$work/packages" >"$cache/apt.conf"
    in_tree "$work/packages" install_packages_in "$work/packages" "${packages[@]}"
    umount "$work/packages"
    overlay "$work" files "$work/packages.up" "$base"
    # What is of no use to a program, so that layers have something to hide.
    rm -rf "$work"/files/usr/share/{doc,man,info,lintian,bug} "$work"/files/var/{lib/apt/lists,cache/apt}
    mkdir -p "$work"/files/var/{lib/apt/lists,cache/apt/archives}/partial
    [ ! -d "$here/files/$image" ] || cp -r --preserve=mode "$here/files/$image/." "$work/files/"
    [ ! -e "$work/files/build.sh" ] || in_tree "$work/files" build_in "$work/files"
    umount "$work/files"
    for tree in "$base" "$work/packages.up" "$work/files.up"; do
        [ "$tree" = "$base" ] || whiteouts "$tree"
        read -r digest size < <(layer "$tree" "$layout")
        ids+=("\"sha256:$digest\"")
        layers+=("{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\",\
\"digest\":\"sha256:$digest\",\"size\":$size}")
    done
    config=$(printf '{"architecture":"amd64","os":"linux","config":{"Cmd":["/bin/bash"],"Env":[%s]},
"rootfs":{"type":"layers","diff_ids":[%s]}}' \
        '"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin","LANG=C.UTF-8"' \
        "$(IFS=,; echo "${ids[*]}")" | blob "$layout" application/vnd.oci.image.config.v1+json)
    manifest=$(printf '{"schemaVersion":2,"mediaType":"%s","config":%s,"layers":[%s]}' \
        application/vnd.oci.image.manifest.v1+json "$config" "$(IFS=,; echo "${layers[*]}")" |
        blob "$layout" application/vnd.oci.image.manifest.v1+json)
    printf '{"schemaVersion":2,"manifests":[%s,"annotations":{"io.containerd.image.name":"%s"}}]}' \
        "${manifest%\}}" "lacre.test/workloads/$image:1" >"$layout/index.json"
    printf '{"imageLayoutVersion":"1.0.0"}' >"$layout/oci-layout"
    tar -c -C "$layout" -f "$archive.part" oci-layout index.json blobs
    mv "$archive.part" "$archive"
    rm -rf --one-file-system "$work"
}

# Of IMAGE: makes it, unless it is there.
image() {
    local image=$1 name base
    name=$(name_of "$image") || name=unknown
    if [ ! -e "$cache/$name.tar" ]; then
        # There are no lists, or they name versions that the archive has no more.
        apt_get update || say "the package lists could not be read again; those of before will do"
        name=$(name_of "$image")
    fi
    if [ ! -e "$cache/$name.tar" ]; then
        install_packages $(packages_of workloads)
        base=$cache/$(name_of base)
        [ -d "$base" ] || make_base "$base"
        find "$cache" -maxdepth 1 -name "$image-*.tar" -delete
        # What it mounts goes with it.
        unshare --mount --propagation private \
            "${BASH_SOURCE[0]}" --make "$image" "$base" "$cache/$name.tar"
    fi
    ln -sfn "$name.tar" "$cache/$image.tar"
}

if [ "${1:-}" = --make ]; then
    shift
    make_image "$@"
    exit
fi
mkdir -p "$cache"
exec 9>"$cache/.lock"
flock 9
find "$cache" -maxdepth 2 -path '*/debs/*.deb' -mtime +60 -delete
images=("$@")
[ $# -gt 0 ] || mapfile -t images < <(awk 'NF && !/^#/ && !seen[$1]++ { print $1 }' "$here/images")
for name in "${images[@]}"; do
    [ -n "$(packages_in "$name")" ] || die "$here/images has no image $name"
    image "$name"
done
