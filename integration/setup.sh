#!/bin/bash
# Fetches what the end-to-end tests run against: build tools through apt, and, unpacked
# into the cache (never installed), three generations of containerd, docker, runc, the CNI
# plugins, busybox and a small Debian tree. Idempotent, and silent when all is there.
#
# The cache is $LACRE_CACHE, by default .cache at the root of the repository:
#   daemons/{1.6,1.7,2.1,docker}  containerd of bookworm, trixie and sid; dockerd of sid
#   tools                         runc, CNI plugins, busybox (bookworm)
#   filesystems                   mkfs.btrfs, mkfs.erofs (bookworm)
#   debian/{base,perl,python}     the layers of a Debian-like image, usrmerged
set -euo pipefail
umask 022

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${LACRE_CACHE:-$root/.cache}
apt=$cache/apt

label=setup
. "$root/integration/apt.sh"

# === a private apt, so that the machine's own is never changed ===

# Prints "URI<TAB>KEYRING" of each archive that the machine itself takes its release's
# main section from (the security and updates suites do not count).
own_archives() {
    local codename file
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:?}")
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ -f "$file" ] || continue
        awk -v suite="$codename" '
            $1 == "deb" {
                key = ""; i = 2
                if ($0 ~ /\[/) {
                    options = $0; sub(/^[^[]*\[/, "", options); sub(/\].*/, "", options)
                    count = split(options, option, " ")
                    for (o = 1; o <= count; o++)
                        if (option[o] ~ /^signed-by=/) key = substr(option[o], 11)
                    line = $0; sub(/\[[^]]*\]/, "", line); $0 = line
                }
                if ($(i + 1) == suite && " " $0 " " ~ / main /) print $i "\t" key
            }' "$file"
    done
    for file in /etc/apt/sources.list.d/*.sources; do
        [ -f "$file" ] || continue
        sed '/^#/d' "$file" | awk -v suite="$codename" '
            BEGIN { RS = ""; FS = "\n" }
            {
                delete field
                for (i = 1; i <= NF; i++) {
                    name = $i; sub(/:.*/, "", name)
                    value = $i; sub(/^[^:]*:[ \t]*/, "", value)
                    field[tolower(name)] = value
                }
                if (tolower(field["enabled"]) == "no") next
                if (" " field["types"] " " !~ / deb /) next
                if (" " field["suites"] " " !~ " " suite " ") next
                if (" " field["components"] " " !~ / main /) next
                split(field["uris"], uri, " ")
                print uri[1] "\t" field["signed-by"]
            }'
    done
}

private_apt() {
    [ ! -e "$apt/ready" ] || return 0
    local uri key
    IFS=$'\t' read -r uri key < <(own_archives) || true
    [ -n "${uri:-}" ] || die "no apt source on this machine names its own release; is it a Debian?"
    [ -n "${key:-}" ] || key=/usr/share/keyrings/debian-archive-keyring.gpg
    [ -r "$key" ] || die "the keyring $key, which verifies $uri, cannot be read"
    mkdir -p "$apt"/{lists/partial,cache/archives/partial,sources}
    : >"$apt/status"
    cat >"$apt/sources/archive.sources" <<END
Types: deb
URIs: $uri
Suites: bookworm trixie sid
Components: main
Signed-By: $key
END
    cat >"$apt/apt.conf" <<END
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear Acquire::IndexTargets::deb::DEP-11;
#clear Acquire::IndexTargets::deb::DEP-11-icons;
#clear Acquire::IndexTargets::deb::DEP-11-icons-small;
#clear Acquire::IndexTargets::deb::DEP-11-icons-large;
#clear Acquire::IndexTargets::deb::DEP-11-icons-hidpi;
#clear Acquire::IndexTargets::deb::DEP-11-icons-large-hidpi;
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "$apt/sources";
Dir::Etc::preferencesparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::State "$apt";
Dir::State::lists "$apt/lists";
Dir::State::status "$apt/status";
Dir::Cache "$apt/cache";
Dir::Cache::archives "$apt/cache/archives";
APT::Sandbox::User "$(id -un)";
APT::Get::AllowUnauthenticated "false";
Acquire::AllowInsecureRepositories "false";
Acquire::Languages "none";
Acquire::Retries "3";
END
    say "reading the package lists of bookworm, trixie and sid"
    apt-get -qq -c "$apt/apt.conf" update
    touch "$apt/ready"
}

# fetch FOLDER PACKAGE/SUITE...: downloads (apt checks each hash against the signed lists).
fetch() {
    local folder=$1; shift
    private_apt
    mkdir -p "$folder"
    download "$folder" "$@" && return
    say "the package lists may be out of date: reading them again"
    rm "$apt/ready"
    private_apt
    download "$folder" "$@"
}

download() { (cd "$1" && shift && apt-get -qq -c "$apt/apt.conf" download "$@") >&2; }

# unpack TREE DEB...: through tar, since `dpkg-deb -x` replaces symlinks to directories.
unpack() {
    local tree=$1 deb; shift
    for deb in "$@"; do
        dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink --no-same-owner -C "$tree"
    done
}

# make TREE PACKAGE/SUITE...: TREE appears whole or not at all.
make_tree() {
    local tree=$1 part=$1.part; shift
    [ ! -d "$tree" ] || return 0
    say "unpacking ${tree#"$cache"/}: $*"
    rm -rf "$part" "$part.debs"
    mkdir -p "$part"
    fetch "$part.debs" "$@"
    if declare -F before_unpack >/dev/null; then before_unpack "$part"; fi
    unpack "$part" "$part.debs"/*.deb
    for deb in "$part.debs"/*.deb; do
        dpkg-deb -W --showformat='${Package} ${Version}\n' "$deb"
    done >"$part/.versions"
    if declare -F after_unpack >/dev/null; then after_unpack "$part"; fi
    sed 's/^/setup:   /' "$part/.versions" >&2
    rm -rf "$part.debs"
    mv "$part" "$tree"
}

make_daemons() {
    mkdir -p "$cache/daemons"
    make_tree "$cache/daemons/1.6" containerd/bookworm
    make_tree "$cache/daemons/1.7" containerd/trixie
    make_tree "$cache/daemons/2.1" containerd/sid
    make_tree "$cache/daemons/docker" docker.io/sid docker-cli/sid
    # runc of later suites needs a later libc; bookworm's serves all three daemons.
    make_tree "$cache/tools" runc/bookworm containernetworking-plugins/bookworm \
        busybox-static/bookworm
    # mkfs of what snapshotters may lie on.
    make_tree "$cache/filesystems" btrfs-progs/bookworm erofs-utils/bookworm liblzo2-2/bookworm
}

# === the Debian-like tree, a folder for each layer ===

layer() {
    local name=$1; shift
    local merged=(bin lib lib64 sbin)
    before_unpack() {
        for link in "${merged[@]}"; do
            mkdir -p "$1/usr/$link"
            ln -s "usr/$link" "$1/$link"
        done
    }
    after_unpack() {
        rm -rf "$1"/usr/share/{doc,man,locale,info,lintian,bug,bash-completion,menu,debianutils,doc-base}
        if [ "$name" = base ]; then
            finish_base "$1"
        else
            for link in "${merged[@]}"; do rm "$1/$link"; done
            # Lower layers own /etc; an upper one brings only its own tree.
            find "$1/usr" -type d -empty -delete
        fi
    }
    make_tree "$cache/debian/$name" "$@"
    unset -f before_unpack after_unpack
}

finish_base() {
    mkdir -p "$1"/{dev,etc,proc,root,run,sys,tmp,var/tmp}
    chmod 1777 "$1/tmp" "$1/var/tmp"
    echo 'root:x:0:0:root:/root:/bin/bash
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin' >"$1/etc/passwd"
    echo 'root:x:0:
nogroup:x:65534:' >"$1/etc/group"
    echo 'PRETTY_NAME="a small Debian-like tree"
ID=debian' >"$1/etc/os-release"
    ln -sf mawk "$1/usr/bin/awk"
}

make_debian() {
    mkdir -p "$cache/debian"
    layer base libc6/bookworm libgcc-s1/bookworm dash/bookworm bash/bookworm coreutils/bookworm \
        grep/bookworm sed/bookworm mawk/bookworm libselinux1/bookworm libpcre2-8-0/bookworm \
        libacl1/bookworm libattr1/bookworm libgmp10/bookworm libtinfo6/bookworm
    layer perl perl-base/bookworm libcrypt1/bookworm
    layer python python3-minimal/bookworm python3.11-minimal/bookworm \
        libpython3.11-minimal/bookworm zlib1g/bookworm libexpat1/bookworm
}

[ "$(uname -m)" = x86_64 ] || say "only x86_64 has been tried"
install_packages $(packages_of setup)
mkdir -p "$cache"
exec 9>"$cache/.lock"
flock 9
make_daemons
make_debian
