#!/bin/bash
# Run libvirt-dbus's own test suite against virsnapd: test_connect, test_domain and test_snapshot.
#
#     tests/libvirt-dbus/run.sh CHECKOUT
#
# CHECKOUT is a checkout of libvirt-dbus (https://gitlab.com/libvirt/libvirt-dbus); nothing is fetched and nothing
# is written into it. The suite starts `libvirt-dbus --session` for each of its tests: here that is virsnapd,
# built before, under that name. Its tests of networks, storage, host interfaces and node devices are left out:
# virsnap has none of these. They are printed, each with the reason.
set -euo pipefail
here=$(cd "$(dirname "$0")/../.." && pwd)

skip() {
    echo "SKIP: libvirt-dbus's test suite: $1"
    exit 0
}

checkout=${1:-${VIRSNAP_LIBVIRT_DBUS:-}}
[ -n "$checkout" ] || skip "no checkout was given (VIRSNAP_LIBVIRT_DBUS=DIR)"
[ -e "$checkout/tests/libvirttest.py" ] || { echo "run.sh: '$checkout' is no checkout of libvirt-dbus" >&2; exit 1; }
daemon=${CARGO_TARGET_DIR:-$here/target}/debug/virsnapd
[ -x "$daemon" ] || { echo "run.sh: '$daemon' is not built" >&2; exit 1; }

# Debian's own: the modules for D-Bus and GLib are packages of it.
python=/usr/bin/python3
ready() { command -v dbus-daemon >/dev/null && "$python" -c 'import dbus, gi, pytest' 2>/dev/null; }
if ! ready; then
    command -v apt-get >/dev/null || skip "it needs dbus-daemon and Python's dbus, gi and pytest"
    as_root=
    [ "$(id -u)" -eq 0 ] || as_root=sudo
    export DEBIAN_FRONTEND=noninteractive
    $as_root apt-get update -qq && $as_root apt-get install -y -qq --no-install-recommends \
        dbus python3-dbus python3-gi python3-pytest >/dev/null || true
    ready || skip "dbus-daemon and Python's dbus, gi and pytest cannot be installed"
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/bin"
cat >"$work/bin/libvirt-dbus" <<WRAPPER
#!/bin/sh
exec '$daemon' --state-dir '$work/state' --runtime-dir '$work/run' "\$@"
WRAPPER
chmod +x "$work/bin/libvirt-dbus"

cd "$checkout/tests"
export PATH=$work/bin:$PATH TEST_INSTALLED=1 PYTHONDONTWRITEBYTECODE=1 VIRSNAP_LOG=${VIRSNAP_LOG:-warn}
unset abs_top_builddir
pytest=("$python" -m pytest -p no:cacheprovider --no-header)

# Why a test is not for virsnap; by its name, which says what it is about.
reason() {
    case $1 in
    *network*) echo "virsnap has no networks" ;;
    *storage*) echo "virsnap has no storage pools" ;;
    *connect_interface*) echo "virsnap has no host interfaces" ;;
    *node_device*) echo "virsnap has no node devices" ;;
    esac
}
chosen=() left=0
while read -r test; do
    why=$(reason "$test")
    if [ -n "$why" ]; then
        left=$((left + 1))
        echo "LEFT OUT $test: $why"
    else
        chosen+=("$test")
    fi
done < <("${pytest[@]}" --collect-only -q test_connect.py test_domain.py test_snapshot.py | grep '::')
for file in test_interface test_network test_nodedev test_storage; do
    [ -e "$file.py" ] && echo "LEFT OUT $file.py: virsnap has none of these"
done
[ ${#chosen[@]} -gt 0 ] || { echo "run.sh: no tests were found" >&2; exit 1; }

status=0
timeout 900 "${pytest[@]}" -v --tb=short "${chosen[@]}" || status=$?
echo "Summary: ${#chosen[@]} tests of libvirt-dbus run, $left left out; $([ $status = 0 ] && echo all passed || echo "FAILED ($status)")"
exit $status
