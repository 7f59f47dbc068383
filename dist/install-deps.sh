#!/bin/sh
# Install what virsnap needs at run time and for its tests, through apt, and only what is missing:
# QEMU for x86, qemu-img, a D-Bus daemon, a C compiler (for the bundled SQLite) and make; and whatever
# is named as COMMAND:PACKAGE or /FILE:PACKAGE.
set -eu

need() { # need COMMAND|FILE PACKAGE
    [ -e "$1" ] || command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
look() {
    # The shell remembers where commands were.
    hash -r
    missing=
    need qemu-system-x86_64 qemu-system-x86
    need qemu-img qemu-utils
    need dbus-daemon dbus
    need cc gcc
    need make make
    need setsid util-linux
    for more in "$@"; do
        need "${more%%:*}" "${more#*:}"
    done
}

look "$@"
[ -n "$missing" ] || exit 0
if ! command -v apt-get >/dev/null 2>&1; then
    echo "install-deps: not a Debian machine; please install:$missing" >&2
    exit 1
fi
as_root=
if [ "$(id -u)" -ne 0 ]; then
    as_root=sudo
    if ! command -v sudo >/dev/null 2>&1; then
        echo "install-deps: not root and no sudo; please install:$missing" >&2
        exit 1
    fi
fi
$as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
# Twice: a newer qemu-utils than the release's own goes when the release's QEMU comes, and is then
# missing itself.
for _ in 1 2; do
    [ -n "$missing" ] || break
    echo "install-deps: installing$missing"
    # shellcheck disable=SC2086 # a list of words
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
    look "$@"
done
if [ -n "$missing" ]; then
    echo "install-deps: still missing:$missing" >&2
    exit 1
fi
