#!/bin/bash
# Get ready for `make test`: install what is missing, and unpack (never install) the QEMU of
# Debian's backports into target/qemu-10, beside the QEMU of the machine, so that the end-to-end
# tests can run on both. Where the backports cannot be reached it says so and goes on: those tests
# then print a line that begins with SKIP. The Linux guest of the QUIESCE tests is built likewise.
set -euo pipefail
cd "$(dirname "$0")/.."

# xmllint judges documents beside our own reader of the schema; virsh is what virsnap is compared with.
sh dist/install-deps.sh xmllint:libxml2-utils virsh:libvirt-clients

# The oracle's bindings, for the system's Python: an own Python of the user has none.
if ! /usr/bin/python3 -c 'import dbus, gi' 2>/dev/null && command -v apt-get >/dev/null; then
    as_root=
    [ "$(id -u)" -eq 0 ] || as_root=sudo
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        python3-dbus python3-gi >/dev/null || echo "SKIP: no python3-dbus and python3-gi for the oracle" >&2
fi

bash tests/agent-guest/build.sh

target=${CARGO_TARGET_DIR:-$PWD/target}/qemu-10
# What the tests look for.
emulator=$target/bin/qemu-system-x86_64

skip() {
    echo "SKIP: no second QEMU: $1" | tee "$target/skip" >&2
    exit 0
}

if [ -x "$emulator" ] && "$emulator" --version >/dev/null 2>&1; then
    exit 0
fi
mkdir -p "$target"
rm -f "$target/skip"
command -v apt-get >/dev/null || skip "this machine has no apt"
# shellcheck source=/dev/null
codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
[ "$codename" = bookworm ] || skip "backports are known for Debian 12 only, this is '$codename'"

# The backports are on the mirror that this machine uses already, in a private apt directory, so
# that nothing of the machine's own state changes.
apt=$target/apt
mkdir -p "$apt/lists/partial" "$apt/archives/partial" "$apt/debs"
options=(
    -o "Dir::Etc::sourcelist=$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o "Dir::State::lists=$apt/lists" -o "Dir::Cache=$apt" -o "Dir::Cache::archives=$apt/archives"
    -o APT::Sandbox::User=root -o Acquire::Retries=2 -o Acquire::http::Timeout=20 -o Acquire::Languages=none
)
key=/usr/share/keyrings/debian-archive-keyring.gpg
[ -e $key ] && signed="[signed-by=$key] " || signed=
readable=
for uri in $(apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
    awk -v suite="$codename" '$1 == suite && $2 == "main" && !seen[$3]++ { print $3 }'); do
    for suite in "$codename" "$codename-updates" "$codename-backports"; do
        echo "deb $signed$uri $suite main"
    done >"$apt/sources.list"
    if timeout 300 apt-get "${options[@]}" -qq update >>"$apt/log" 2>&1; then
        readable=yes
        break
    fi
done
[ -n "$readable" ] || skip "the backports cannot be read through this machine's apt sources (see $apt/log)"

# Whatever an installation would add or upgrade, its libraries included.
packages=$(apt-get "${options[@]}" -s -t "$codename-backports" --no-install-recommends \
    install qemu-system-x86 qemu-utils 2>>"$apt/log" | awk '$1 == "Inst" { print $2 }')
grep -q qemu-system-x86 <<<"$packages" || skip "the backports hold no newer qemu-system-x86"
# shellcheck disable=SC2086 # a list of words
(cd "$apt/debs" && timeout 600 apt-get "${options[@]}" -t "$codename-backports" -qq download $packages) \
    >>"$apt/log" 2>&1 || skip "a download failed ($(tail -n 1 "$apt/log"))"
rm -rf "$target/root"
for deb in "$apt"/debs/*.deb; do
    dpkg -x "$deb" "$target/root"
done

# QEMU finds its libraries and firmware where it was unpacked.
mkdir -p "$target/bin"
for program in qemu-system-x86_64 qemu-img; do
    firmware=
    [ $program = qemu-img ] || firmware='-L "$root/usr/share/qemu" -L "$root/usr/share/seabios"'
    cat >"$target/bin/$program" <<WRAPPER
#!/bin/sh
root='$target/root'
export LD_LIBRARY_PATH="\$root/usr/lib/x86_64-linux-gnu:\$root/lib/x86_64-linux-gnu"
export QEMU_MODULE_DIR="\$root/usr/lib/x86_64-linux-gnu/qemu"
exec "\$root/usr/bin/$program" ${firmware//\"\$root/\"\$root} "\$@"
WRAPPER
    chmod +x "$target/bin/$program"
done
"$emulator" --version >>"$apt/log" 2>&1 || skip "the unpacked QEMU does not run ($(tail -n 1 "$apt/log"))"
rm -rf "$apt/debs" "$apt/lists" "$apt/archives"
echo "setup: $("$emulator" --version | head -n 1) in $target"
