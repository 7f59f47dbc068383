#!/bin/bash
# Build the Xen host of the tests: Xen 4.17, a Debian 12 dom0 with xl, QEMU as qdisk, LVM and D-Bus,
# and the guest (guest.c) with a kernel. All comes from the apt sources of this machine, and is kept in
# target/xen-rig until this script or a file beside it changes. Where it cannot be built it says so,
# leaves the reason in target/xen-rig/skip and goes on: the Xen tests then print a line that begins
# with SKIP.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../../.."
out=${VIRSNAP_XEN_RIG:-${CARGO_TARGET_DIR:-$PWD/target}/xen-rig}
work=$out/work
mkdir -p "$work"
exec 9>"$out/build.lock"
flock 9

skip() {
    echo "SKIP: no Xen rig: $1" | tee "$out/skip" >&2
    exit 0
}

want=$(cd "$here" && find . -type f ! -name rig.sh | sort | xargs sha256sum | sha256sum | cut -d' ' -f1)
if [ "$(cat "$out/built" 2>/dev/null)" = "$want" ]; then
    exit 0
fi
rm -f "$out/skip" "$out/built"
command -v apt-get >/dev/null || skip "this machine has no apt"
# shellcheck source=/dev/null
codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
[ "$codename" = bookworm ] || skip "it is made of Debian 12's packages, this is '$codename'"
[ "$(dpkg --print-architecture)" = amd64 ] || skip "it is an amd64 machine, this is not"
[ "$(id -u)" -eq 0 ] || skip "building it needs root"
sh dist/install-deps.sh mmdebstrap:mmdebstrap depmod:kmod cpio:cpio mke2fs:e2fsprogs ssh:openssh-client \
    xz:xz-utils strip:binutils || skip "a program for building it is missing"
log=$out/build.log
: >"$log"
failed() {
    skip "$1 ($(tail -n 1 "$log"), see $log)"
}
echo "xen-rig: building dom0 and its guest, about a minute"

# 1. What Debian has: dom0's userland as a tar, the kernels and Xen as packages. Kernels are unpacked,
#    never installed: no initramfs-tools, no boot loader. The generic kernel can be dom0, the cloud one
#    boots faster as a guest.
userland=xen-utils-4.17,qemu-system-xen,qemu-utils,dbus,busybox-static,kmod,dropbear-bin,iproute2,procps,socat
userland+=,jq,lvm2,thin-provisioning-tools
key=/usr/share/keyrings/debian-archive-keyring.gpg
[ -e $key ] && signed="[signed-by=$key] " || signed=
# shellcheck disable=SC2016 # apt-get's own fields
sources=$(apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(ORIGIN) $(REPO_URI)' 'Created-By: Packages' |
    awk -v suite="$codename" -v signed="$signed" \
        '$1 ~ "^" suite "(-updates|-security)?$" && $2 == "main" && $3 == "Debian" && !seen[$1, $4]++ \
        { print "deb " signed $4, $1, "main" }')
[ -n "$sources" ] || skip "this machine's apt sources hold no $codename"
base=$(sha256sum <<<"$userland $sources" | cut -d' ' -f1)
if [ "$(cat "$work/base" 2>/dev/null)" != "$base" ]; then
    rm -rf "$work/base" "$work/debs" "$work/kernels"
    mkdir -p "$work/debs"
    cat >"$work/download" <<'HOOK'
#!/bin/sh
# With mmdebstrap's apt, from the same sources as the rest.
set -eu
cd "$2"
export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
for flavour in amd64 cloud-amd64; do
    apt-cache depends "linux-image-$flavour" | awk '$1 == "Depends:" { print $2; exit }'
done >names
echo xen-hypervisor-4.17-amd64 >>names
xargs apt-get -q -o APT::Sandbox::User=root download <names
HOOK
    chmod +x "$work/download"
    timeout 900 mmdebstrap --quiet --mode=root --variant=minbase --architectures=amd64 --include="$userland" \
        --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Retries "2"' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/seabios/*' \
        --customize-hook="$work/download \"\$1\" '$work/debs'" \
        "$codename" "$work/base.tar" - <<<"$sources" >>"$log" 2>&1 || failed "dom0's packages did not install"
    echo "$base" >"$work/base"
fi
mapfile -t names <"$work/debs/names"
kernel=${names[0]#linux-image-} guest_kernel=${names[1]#linux-image-}
rm -rf "$work/kernels" "$work/dom0" "$work/initrd" "$work/guest"
mkdir -p "$work/dom0"
for deb in "$work"/debs/*.deb; do
    dpkg-deb -x "$deb" "$work/kernels"
done
tar -C "$work/dom0" --exclude='./dev/*' -xf "$work/base.tar"

# 2. Kernels. What is compressed with xz takes an emulated processor seconds, so it is unpacked here.
unpack() { # unpack BZIMAGE: its ELF, if it is made with xz, or itself (see Linux, x86/boot.rst: payload_offset)
    local start size
    field() { od -An -j"$1" -N"$2" -tu"$2" "$3" | tr -d ' '; }
    start=$((($(field $((0x1f1)) 1 "$1") + 1) * 512 + $(field $((0x248)) 4 "$1")))
    # The last four bytes are the length.
    size=$(($(field $((0x24c)) 4 "$1") - 4))
    dd if="$1" bs=64K iflag=skip_bytes,count_bytes skip=$start count=$size status=none | xz -dc 2>/dev/null || cat "$1"
}
unpack "$work/kernels/boot/vmlinuz-$kernel" >"$out/kernel-dom0"
unpack "$work/kernels/boot/vmlinuz-$guest_kernel" >"$work/kernel-guest"
# QEMU loads plain ELF files only.
zcat "$work/kernels/boot/xen-4.17-amd64.gz" >"$out/xen"
depmod -b "$work/kernels" "$kernel"
depmod -b "$work/kernels" "$guest_kernel"
modules() { # modules KERNEL DESTINATION NAME...: copy modules and what they need; print paths in load order
    local version=$1 destination=$2 file path
    shift 2
    for name in "$@"; do
        modprobe -d "$work/kernels" -S "$version" --show-depends "$name" ||
            { echo "no module $name in $version" >>"$log" && return 1; }
    done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | while read -r file; do
        path=${file#"$work/kernels"}
        install -D -m 644 "$file" "$destination$path"
        echo "$path"
    done
}
archive() { # archive DIRECTORY: an initramfs
    (cd "$1" && find . | cpio -o -H newc -R 0:0 --quiet)
}

# 3. The guest.
mkdir -p "$work/guest"/{dev,proc,sbin}
cc -O2 -static -s -Wall -Wextra -o "$work/guest/init" "$here/guest.c" 2>>"$log" || failed "the guest does not compile"
ln -s ../init "$work/guest/sbin/poweroff"
ln -s ../init "$work/guest/sbin/reboot"
modules "$guest_kernel" "$work/guest" xen-blkfront >"$work/guest/modules" || failed "the guest's disks have no driver"
archive "$work/guest" >"$work/initrd-guest"

# 4. dom0's first step: find its root.
mkdir -p "$work/initrd"/{bin,proc,sys,dev,mnt}
cp "$work/dom0/bin/busybox" "$work/initrd/bin/"
{
    printf '%s\n' '#!/bin/busybox sh' 'b=/bin/busybox' '$b mount -t proc proc /proc' '$b mount -t devtmpfs dev /dev'
    # Some are for processors that this one is not.
    modules "$kernel" "$work/initrd" virtio_pci virtio_blk ext4 | sed 's/.*/$b insmod & 2>\/dev\/null/'
    printf '%s\n' 'until [ -b /dev/vda ]; do $b sleep 0.1; done' \
        '$b mount -t ext4 -o noatime,nobarrier /dev/vda /mnt' '$b mount --move /dev /mnt/dev' '$b umount /proc' \
        'exec $b switch_root /mnt /rig/init'
} >"$work/initrd/init"
chmod +x "$work/initrd/init"
archive "$work/initrd" >"$out/initrd-dom0"

# 5. dom0's root.
root=$work/dom0
modules "$kernel" "$root" virtio_net virtio_rng ext4 9p 9pnet_virtio loop dm-mod dm-thin-pool dm-snapshot \
    xenfs xen-evtchn xen-gntdev xen-gntalloc xen-privcmd xen-blkback xen-blkfront >/dev/null || failed "dom0's kernel is incomplete"
cp "$work/kernels/lib/modules/$kernel"/modules.{builtin,order} "$root/lib/modules/$kernel/"
depmod -b "$root" "$kernel" 2>>"$log"
install -D -m 755 "$here/dom0/init" "$root/rig/init"
install -m 644 "$here/dom0/bus.conf" "$root/rig/bus.conf"
install -m 644 "$here/dom0/lvmlocal.conf" "$root/etc/lvm/lvmlocal.conf"
install -D -m 644 "$work/kernel-guest" "$root/x/kernel"
install -m 644 "$work/initrd-guest" "$root/x/initrd"
mkdir -p "$root/share"
echo dom0 >"$root/etc/hostname"
echo '127.0.0.1 localhost dom0' >"$root/etc/hosts"
[ -f "$out/id_ed25519" ] || ssh-keygen -q -t ed25519 -N '' -C xen-rig -f "$out/id_ed25519"
install -D -m 600 "$out/id_ed25519.pub" "$root/root/.ssh/authorized_keys"
chmod 700 "$root/root/.ssh"
mkdir -p "$root/etc/dropbear"
{
    chroot "$root" dropbearkey -t ed25519 -f /etc/dropbear/dropbear_ed25519_host_key
    chroot "$root" dbus-uuidgen --ensure
} >>"$log" 2>&1 || failed "dom0 got no keys"
rm -f "$out/dom0.img"
truncate -s 4G "$out/dom0.img"
mke2fs -q -F -t ext4 -O ^has_journal -E lazy_itable_init=1 -d "$root" "$out/dom0.img" >>"$log" 2>&1 ||
    failed "dom0's disk was not made"
rm -rf "$work/dom0" "$work/initrd" "$work/guest" "$work/kernels"
echo "$want" >"$out/built"
echo "xen-rig: built in $SECONDS s, $(du -sm "$out" | cut -f1) MiB in $out"
