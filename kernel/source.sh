# Linux as Debian has it, through apt, for the scripts beside this one. Needs $cache, and $here.
# $series is 6.12, from the machine's own sources, unless it is set: any other comes from the
# archive of Debian's backports, with lists that apt keeps apart from the machine's.
series=${series:-6.12}
patches=$here/patches
version_file=$cache/version
if [ "$series" != 6.12 ]; then
    patches=$here/patches-$series
    version_file=$cache/version-$series
fi

say() { printf 'kernel: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
installed() { dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q 'ok installed'; }

need() {
    local missing=() package
    for package in "$@"; do installed "$package" || missing+=("$package"); done
    [ ${#missing[@]} -gt 0 ] || return 0
    say "installing ${missing[*]}"
    as_root apt-get -qq -o DPkg::Lock::Timeout=300 update
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 \
        install -y --no-install-recommends "${missing[@]}" >/dev/null
}

# What apt is told of where the source comes from: nothing, where the machine's sources do.
backports() {
    local apt=$cache/apt archive=${DEBIAN_ARCHIVE:-}
    [ "$series" != 6.12 ] || return 0
    # The archive that the machine's own packages come from has the backports too.
    [ -n "$archive" ] ||
        archive=$(apt-get indextargets --format '$(REPO_URI)' 'Label: Debian' | head -n 1)
    [ -n "$archive" ] || die "no archive of Debian's in apt's sources: name one by DEBIAN_ARCHIVE"
    mkdir -p "$apt"/{lists/partial,archives/partial}
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]" \
        "$archive trixie-backports main" >"$apt/sources.list"
    printf '%s\n' -o "Dir::Etc::SourceList=$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o "Dir::State::Lists=$apt/lists" -o "Dir::Cache=$apt" -o Acquire::Languages=none \
        -o "APT::Sandbox::User=$(id -un)"
}
apt_source() {
    local options
    mapfile -t options < <(backports)
    "$@" "${options[@]}"
}

apt_version() {
    apt_source apt-cache show --no-all-versions "linux-source-$series" 2>/dev/null |
        sed -n 's/^Version: //p'
}

# The newest that apt knows; offline, what was fetched last will do.
source_version() {
    local v
    v=$(apt_version)
    [ -n "$v" ] || v=$(cat "$version_file" 2>/dev/null) || {
        if [ "$series" = 6.12 ]; then
            as_root apt-get -qq -o DPkg::Lock::Timeout=300 update >&2
        else
            apt_source apt-get -qq update >&2
        fi
        v=$(apt_version)
    }
    [ -n "$v" ] || die "apt knows no linux-source-$series (Debian 12 has 6.12 in its security suite)"
    echo "$v"
}

# The package with the source of a version, fetched if need be.
source_deb() {
    local deb version=$1 new=$cache/fetch.new
    deb=$(echo "$cache/linux-source-${series}_${version/:/%3a}"_*.deb)
    if [ ! -e "$deb" ]; then
        say "fetching linux-source-$series $version"
        rm -rf "$new"
        mkdir "$new"
        (cd "$new" && apt_source apt-get -qq -o APT::Sandbox::User="$(id -un)" download \
            "linux-source-$series=$version") >&2
        mv "$new"/*.deb "$cache/"
        rmdir "$new"
        deb=$(echo "$cache/linux-source-${series}_${version/:/%3a}"_*.deb)
    fi
    echo "$version" >"$version_file"
    echo "$deb"
}

# Unpacks a version into a folder, unpatched.
source_unpack() {
    local deb
    deb=$(source_deb "$1")
    rm -rf "$2"
    mkdir -p "$2"
    dpkg-deb --fsys-tarfile "$deb" | tar -xOf - --wildcards '*linux-source-*.tar.xz' |
        tar -xJf - -C "$2" --strip-components=1
}
