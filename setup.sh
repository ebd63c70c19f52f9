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

# as_root COMMAND…: run it as root, by sudo where needed.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
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
    say "installing$missing"
    as_root apt-get -q update
    # shellcheck disable=SC2086  # a list of package names
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -q -y --no-install-recommends install $missing
}

# make_venv TREE [EXTRA]: TREE/.venv with the program of TREE in it, editable.
make_venv() {
    stamp=$1/.venv/selfinstall-$(cksum <"$1/pyproject.toml" | tr ' ' -)${2:+-$2}
    [ ! -e "$stamp" ] || return 0
    say "making $1/.venv"
    rm -rf "$1/.venv"
    "$PYTHON" -m venv "$1/.venv"
    "$1/.venv/bin/pip" install -q --disable-pip-version-check -e "$1${2:+[$2]}"
    : >"$stamp"
}

# install_what_doctor_misses TREE: the program knows best what it needs.
install_what_doctor_misses() {
    report=$("$1/.venv/bin/selfinstall" doctor --json) || [ $? -eq 4 ]
    names=$(printf '%s' "$report" |
        "$1/.venv/bin/python" -c 'import json, sys; print(*json.load(sys.stdin)["packages"])')
    # shellcheck disable=SC2086  # a list of package names
    install_packages $names
    "$1/.venv/bin/selfinstall" doctor -q
}

# rootfs_with_mmdebstrap FILE PACKAGES: a minimal trixie in FILE, as root or in a user namespace.
rootfs_with_mmdebstrap() {
    mode=unshare
    [ "$(id -u)" -ne 0 ] || mode=root
    say "making $1 by mmdebstrap --mode=$mode --variant=minbase --include=$2 trixie"
    # The right suffix tells mmdebstrap how to compress; the right name comes when it is whole.
    unfinished=${1%.tar.zst}.unfinished.tar.zst
    mmdebstrap --quiet --mode="$mode" --variant=minbase --include="$2" trixie "$unfinished"
    mv "$unfinished" "$1"
}
