# Linux as Debian has it, through apt, for the scripts beside this one. Needs $cache.
series=6.12

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

apt_version() {
    apt-cache show --no-all-versions "linux-source-$series" 2>/dev/null | sed -n 's/^Version: //p'
}

# The newest that apt knows; offline, what was fetched last will do.
source_version() {
    local v
    v=$(apt_version)
    [ -n "$v" ] || v=$(cat "$cache/version" 2>/dev/null) || {
        as_root apt-get -qq -o DPkg::Lock::Timeout=300 update >&2
        v=$(apt_version)
    }
    [ -n "$v" ] || die "apt knows no linux-source-$series (Debian 12 has it in its security suite)"
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
        (cd "$new" && apt-get -qq -o APT::Sandbox::User="$(id -un)" download \
            "linux-source-$series=$version") >&2
        mv "$new"/*.deb "$cache/"
        rmdir "$new"
        deb=$(echo "$cache/linux-source-${series}_${version/:/%3a}"_*.deb)
    fi
    echo "$version" >"$cache/version"
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
