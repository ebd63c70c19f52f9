# shellcheck shell=sh
# What quickstart and run-tests share; read with ".", run by neither alone.

# The system's Python, which every user of the machine can run.
PYTHON=/usr/bin/python3

say() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
}

fail() {
    say "error: $*"
    exit 1
}

is_root() {
    [ "$(id -u)" -eq 0 ]
}

has_sudo() {
    command -v sudo >/dev/null
}

# as_root COMMAND…: run it as root, by sudo where needed.
as_root() {
    if is_root; then
        "$@"
    elif has_sudo; then
        sudo "$@"
    else
        fail "this needs root, and there is no sudo: $*"
    fi
}

# install_packages PACKAGE…: install those that are not installed, and say so.
install_packages() {
    missing=
    for package; do
        case $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || :) in
            installed) ;;
            *) missing="$missing $package" ;;
        esac
    done
    [ -n "$missing" ] || return 0
    is_root || has_sudo ||
        fail "there is no sudo; as root, run: apt-get install --no-install-recommends$missing"
    say "installing$missing"
    as_root apt-get -q update || say 'apt-get update failed; trying with the lists that are there'
    # shellcheck disable=SC2086  # a list of package names
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -q -y --no-install-recommends install $missing
}

# make_venv TREE [EXTRA]: TREE/.venv with the program of TREE in it, editable.
make_venv() {
    # A folder that was moved or a project file that was changed needs a new one.
    stamp=$1/.venv/made-for-$(printf '%s %s %s' "$1" "${2-}" "$(cat "$1/pyproject.toml")" | cksum | tr ' ' -)
    [ ! -e "$stamp" ] || return 0
    say "making $1/.venv"
    rm -rf "$1/.venv"
    "$PYTHON" -m venv "$1/.venv"
    "$1/.venv/bin/python" -m pip install -q --disable-pip-version-check -e "$1${2:+[$2]}" ||
        fail "pip could not install what pyproject.toml names into $1/.venv"
    : >"$stamp"
}

# install_what_doctor_misses TREE [OPTION…]: the program knows best what it needs.
install_what_doctor_misses() {
    tree_of_doctor=$1
    shift
    report=$("$tree_of_doctor/.venv/bin/selfinstall" doctor --json "$@") || [ $? -eq 4 ]
    names=$(printf '%s' "$report" |
        "$tree_of_doctor/.venv/bin/python" -c 'import json, sys; print(*json.load(sys.stdin)["packages"])')
    # shellcheck disable=SC2086  # a list of package names
    install_packages $names
    # What only a newer release has is the caller's affair.
    "$tree_of_doctor/.venv/bin/selfinstall" doctor -q
}

# rootfs_with_mmdebstrap FILE PACKAGES: a minimal trixie in FILE, as root or in a user namespace.
rootfs_with_mmdebstrap() {
    # The right suffix tells mmdebstrap how to compress; the right name comes when it is whole.
    unfinished=${1%.tar.zst}.unfinished.tar.zst
    set -- "$1" --quiet --variant=minbase "--include=$2" trixie "$unfinished"
    file=$1
    shift
    if is_root; then
        mode=root by=''
    elif obstacle=$(unshare --user --map-root-user --map-auto true 2>&1); then
        mode=unshare by=''
    elif has_sudo; then
        say "by sudo, since $(id -un) may make no user namespace of many ids: $obstacle"
        mode=root by=as_root
    else
        fail "$(id -un) may make no user namespace of many ids, which mmdebstrap needs: $obstacle" \
            "(see subuid(5) and newuidmap(1)); or let root make the tarball:" \
            "mmdebstrap --variant=minbase --include=systemd-sysv,udev trixie trixie.tar.zst"
    fi
    say "making $file: mmdebstrap --mode=$mode $*"
    # HOME: in its namespace dpkg is another user, who may not look for its settings there.
    $by env -u HOME mmdebstrap "--mode=$mode" "$@" || {
        rm -f "$unfinished"
        fail "mmdebstrap could not make $file"
    }
    [ -z "$by" ] || as_root chown "$(id -u):$(id -g)" "$unfinished"
    mv "$unfinished" "$file"
}
