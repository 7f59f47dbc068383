#!/bin/bash
# Build the Linux guest of the QUIESCE tests: Debian's cloud kernel, busybox, and the real qemu-ga in an
# initramfs (see init), and an ext4 file system for its disk. All comes from the apt sources of this machine,
# is unpacked and never installed, and is kept in target/agent-guest until a file here changes. Where it cannot
# be built it says so, leaves the reason in target/agent-guest/skip and goes on: the tests then print a line that
# begins with SKIP.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
out=${CARGO_TARGET_DIR:-$PWD/target}/agent-guest
mkdir -p "$out"
exec 9>"$out/build.lock"
flock 9

skip() {
    echo "SKIP: no Linux guest with an agent: $1" | tee "$out/skip" >&2
    exit 0
}

want=$(cd "$here" && find . -type f | sort | xargs sha256sum | sha256sum | cut -d' ' -f1)
if [ "$(cat "$out/built" 2>/dev/null)" = "$want" ]; then
    exit 0
fi
rm -f "$out/skip" "$out/built"
command -v apt-get >/dev/null || skip "this machine has no apt"
# shellcheck source=/dev/null
codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
[ "$codename" = bookworm ] || skip "it is made of Debian 12's packages, this is '$codename'"
[ "$(dpkg --print-architecture)" = amd64 ] || skip "it is an amd64 machine, this is not"
sh dist/install-deps.sh depmod:kmod cpio:cpio mke2fs:e2fsprogs || skip "a program for building it is missing"
log=$out/build.log
: >"$log"
failed() {
    skip "$1 ($(tail -n 1 "$log"), see $log)"
}
echo "agent-guest: building, some seconds"

# 1. What Debian has, through a private apt directory: nothing of the machine's own state changes.
apt=$out/apt
rm -rf "$apt"
mkdir -p "$apt/lists/partial" "$apt/archives/partial" "$apt/debs"
: >"$apt/status"
options=(
    -o "Dir::Etc::sourcelist=$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o "Dir::State::lists=$apt/lists" -o "Dir::State::status=$apt/status"
    -o "Dir::Cache=$apt" -o "Dir::Cache::archives=$apt/archives"
    -o APT::Sandbox::User=root -o Acquire::Retries=2 -o Acquire::http::Timeout=20 -o Acquire::Languages=none
    -o APT::Install-Recommends=false
)
key=/usr/share/keyrings/debian-archive-keyring.gpg
[ -e $key ] && signed="[signed-by=$key] " || signed=
# shellcheck disable=SC2016 # apt-get's own fields
apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(ORIGIN) $(REPO_URI)' 'Created-By: Packages' |
    awk -v suite="$codename" -v signed="$signed" \
        '$1 ~ "^" suite "(-updates|-security)?$" && $2 == "main" && $3 == "Debian" && !seen[$1, $4]++ \
        { print "deb " signed $4, $1, "main" }' >"$apt/sources.list"
[ -s "$apt/sources.list" ] || skip "this machine's apt sources hold no $codename"
timeout 300 apt-get "${options[@]}" -qq update >>"$log" 2>&1 || failed "the apt sources cannot be read"
kernel=$(apt-cache "${options[@]}" depends linux-image-cloud-amd64 2>>"$log" | awk '$1 == "Depends:" { print $2; exit }')
[ -n "$kernel" ] || failed "there is no cloud kernel"
# The agent's libraries, and what they need in turn.
libraries=$(apt-cache "${options[@]}" depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks \
    --no-replaces --no-enhances qemu-guest-agent 2>>"$log" | grep '^lib' | sort -u)
# shellcheck disable=SC2086 # a list of words
(cd "$apt/debs" && timeout 600 apt-get "${options[@]}" -qq download "$kernel" qemu-guest-agent busybox-static $libraries) \
    >>"$log" 2>&1 || failed "a download failed"
root=$out/root
rm -rf "$root" "$out/unpacked"
for deb in "$apt"/debs/*.deb; do
    dpkg-deb -x "$deb" "$out/unpacked"
done

# 2. The initramfs: what qemu-ga loads, the drivers in the order in which they load, and init.
unpacked=$out/unpacked
version=${kernel#linux-image-}
mkdir -p "$root"/{bin,dev,proc,sys,run,mnt,etc,lib64} "$root/lib/x86_64-linux-gnu"
cp "$unpacked/bin/busybox" "$unpacked/usr/sbin/qemu-ga" "$root/bin/"
cp -L "$unpacked/lib64/ld-linux-x86-64.so.2" "$root/lib64/" 2>/dev/null ||
    cp -L "$unpacked/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2" "$root/lib64/" || failed "there is no loader"
paths=$unpacked/lib/x86_64-linux-gnu:$unpacked/usr/lib/x86_64-linux-gnu
"$root/lib64/ld-linux-x86-64.so.2" --library-path "$paths" --list "$root/bin/qemu-ga" 2>>"$log" |
    awk '$3 ~ "^/" { print $3 }' | while read -r library; do
    cp -L "$library" "$root/lib/x86_64-linux-gnu/"
done
depmod -b "$unpacked" "$version"
for name in virtio_pci virtio_blk virtio_console ext4; do
    modprobe -d "$unpacked" -S "$version" --show-depends "$name" 2>>"$log" || true
done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | while read -r file; do
    path=${file#"$unpacked"}
    install -D -m 644 "$file" "$root$path"
    echo "$path"
done >"$root/modules"
[ "$(wc -l <"$root/modules")" -ge 4 ] || failed "the kernel lacks a driver"
install -m 755 "$here/init" "$root/init"
install -m 755 "$here/fsfreeze-hook" "$root/bin/fsfreeze-hook"
# shellcheck disable=SC2094 # the archive is not in what is archived
(cd "$root" && find . | cpio -o -H newc -R 0:0 --quiet) >"$out/initrd"
cp "$unpacked/boot/vmlinuz-$version" "$out/kernel"

# 3. Its disk.
rm -f "$out/disk.raw"
truncate -s 32M "$out/disk.raw"
mke2fs -q -F -t ext4 -E lazy_itable_init=0,lazy_journal_init=0 "$out/disk.raw" >>"$log" 2>&1 || failed "there is no ext4"
rm -rf "$apt" "$root" "$unpacked"
echo "$want" >"$out/built"
echo "agent-guest: built in $SECONDS s, $(du -sm "$out" | cut -f1) MiB in $out"
