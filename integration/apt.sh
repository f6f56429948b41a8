# What the set-up scripts share; to be sourced, with $label set to what messages begin with and
# $root to the repository.

say() { printf '%s: %s\n' "$label" "$*" >&2; }
die() { say "$*"; exit 1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

installed() { dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q 'ok installed'; }

apt_get() { as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 "$@"; }

# The packages that integration/packages has for a script.
packages_of() { awk -v who="$1" '$1 == who { print $2 }' "$root/integration/packages"; }

# install_packages PACKAGE...: from the machine's own apt sources; nothing, when all are there.
install_packages() {
    local missing=() package
    for package in "$@"; do
        installed "$package" || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    say "installing ${missing[*]}"
    apt_get update
    apt_get install -y --no-install-recommends "${missing[@]}" >/dev/null
}

# The files that name the machine's own apt sources.
sources() {
    find /etc/apt -maxdepth 2 \( -path '*/sources.list' -o -path '*/sources.list.d/*.list' -o \
        -path '*/sources.list.d/*.sources' \)
}

# How this machine reaches its sources: proxies, retries, languages.
apt_options() {
    apt-config dump |
        grep -E '^Acquire::(https?|ftp|Retries|Check-|Force|Languages|Proxy)' || true
}
