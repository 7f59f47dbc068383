#!/bin/bash
# The main job on a real guest: take, list, revert and delete snapshots, on a private bus, with
# everything in one temporary directory. `make demo` builds and runs it.
set -euo pipefail
cd "$(dirname "$0")/.."

bin=${CARGO_TARGET_DIR:-target}/debug
dir=$(mktemp -d /tmp/virsnap-demo.XXXXXX)
mkdir "$dir/images"
bus_pid='' daemon_pid=''

clean_up() {
    status=$?
    trap - EXIT
    if [ -n "$daemon_pid" ]; then
        "$bin/virsnap" --bus "$address" destroy demo >/dev/null 2>&1 || true
        kill "$daemon_pid" 2>/dev/null && wait "$daemon_pid" 2>/dev/null || true
    fi
    [ -z "$bus_pid" ] || kill "$bus_pid" 2>/dev/null || true
    if [ $status -ne 0 ]; then
        echo "demo: failed; the daemon's last words:" >&2
        tail -n 30 "$dir/log" >&2 || true
    fi
    rm -rf "$dir"
    exit $status
}
trap clean_up EXIT
trap 'exit 130' INT TERM

if [ -t 1 ]; then bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'; else bold='' dim='' plain=''; fi

say() { printf '\n%s# %s%s\n' "$bold" "$*" "$plain"; }
virsnap() {
    printf '%s$ virsnap %s%s\n' "$bold" "${*//$dir\//}" "$plain"
    "$bin/virsnap" --bus "$address" "$@" | sed '/^$/d'
}
fail() {
    echo "demo: $*" >&2
    exit 1
}

# The guest prints its counter in memory, and what it reads from each disk, many times a second.
lines() { grep -a -E '^M=[0-9a-f]{8} D0=[0-9a-f]{8} D1=[0-9a-f]{8}.?$' "$dir/images/serial" | tr -d '\r'; }
memory() { local line; line=$(lines | "$1" -n 1); echo $((16#${line:2:8})); }
wait_for() { # wait_for COUNTER: the guest has counted that far
    local tries=0
    until [ "$(lines | wc -l)" -gt 0 ] && [ "$(memory tail)" -ge "$1" ]; do
        sleep 0.05
        tries=$((tries + 1))
        [ $tries -lt 600 ] || fail "the guest does not count"
    done
}
guest_says() { lines | "$1" -n 1 | sed "s/^/${dim}guest: /; s/\$/$plain/"; }
counts_on() { wait_for $(($(memory tail) + 12)); }

cat >"$dir/bus.conf" <<CONF
<busconfig>
  <type>session</type>
  <listen>unix:path=$dir/bus</listen>
  <auth>EXTERNAL</auth>
  <policy context="default"><allow send_destination="*"/><allow own="*"/></policy>
</busconfig>
CONF
address=unix:path=$dir/bus
dbus-daemon --config-file="$dir/bus.conf" --nofork --nopidfile &
bus_pid=$!
for _ in $(seq 100); do [ -S "$dir/bus" ] && break || sleep 0.05; done

NO_COLOR=1 "$bin/virsnapd" --bus "$address" --state-dir "$dir/state" --runtime-dir "$dir/run" >"$dir/ready" 2>"$dir/log" &
daemon_pid=$!
for _ in $(seq 200); do [ -s "$dir/ready" ] && break || sleep 0.05; done
[ -s "$dir/ready" ] || fail "virsnapd does not start"

# Two qcow2 disks; the first boots a counter (tests/guest/counter.S).
for n in 0 1; do
    cp tests/guest/counter.bin "$dir/program"
    truncate -s 8M "$dir/program"
    qemu-img convert -f raw -O qcow2 "$dir/program" "$dir/images/disk$n.qcow2"
done
rm "$dir/program"
disk() {
    echo "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>" \
        "<source file='$dir/images/disk$1.qcow2'/><target dev='$2' bus='virtio'/><boot order='$(($1 + 1))'/></disk>"
}
cat >"$dir/demo.xml" <<XML
<domain type='qemu'>
  <name>demo</name>
  <memory unit='MiB'>64</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type></os>
  <features><acpi/></features>
  <devices>
    <emulator>$(command -v qemu-system-x86_64)</emulator>
    $(disk 0 vda)
    $(disk 1 vdb)
    <serial type='file'><source path='$dir/images/serial'/><target port='0'/></serial>
  </devices>
</domain>
XML

say "A real guest with two disks ($(qemu-system-x86_64 --version | head -n 1 | cut -d' ' -f1-4))"
virsnap define "$dir/demo.xml"
virsnap start demo
wait_for 20
guest_says tail

say "A full-system snapshot of the running guest: memory and both disks, of one instant"
virsnap snapshot-create-as demo live "before the update" --memspec "file=$dir/images/live.mem"
live=$(memory tail)
pause=$(sed -n 's/.*pause_ms=\([0-9.]*\).*/\1/p' "$dir/log" | tail -n 1)
[ -z "$pause" ] || echo "${dim}log: the guest stood still for $pause ms$plain"
counts_on
guest_says tail

say "The disks only, into overlays; then everything once more, inside the images"
virsnap snapshot-create-as demo disks --disk-only
counts_on
virsnap snapshot-create-as demo inside
inside=$(memory tail)
counts_on
virsnap snapshot-list demo --tree
virsnap snapshot-list demo

say "Back to the first: the counter in memory and the counters on the disks went back"
guest_says tail
was=$(memory tail)
virsnap snapshot-revert demo live
wait_for 1
guest_says head
now=$(memory head)
[ "$now" -le $((live + 1)) ] && [ "$now" -lt "$was" ] || fail "memory did not go back"
counts_on
torn=$(lines | awk '{ if (substr($1, 3) != substr($2, 4) || substr($1, 3) != substr($3, 4)) n++ } END { print n + 0 }')
[ "$torn" -eq 0 ] || fail "memory and disks are not of the same instant"
virsnap snapshot-current demo --name

say "And forward again, to the one inside the images"
virsnap snapshot-revert demo inside
wait_for 1
guest_says head
now=$(memory head)
[ "$now" -le $((inside + 1)) ] && [ "$now" -gt "$live" ] || fail "memory did not come back"
counts_on

say "Delete them all; the guest goes on, the layers are merged under it"
for snapshot in inside disks live; do
    virsnap snapshot-delete demo $snapshot
    counts_on
done
guest_says tail
virsnap domstate demo
virsnap destroy demo
virsnap undefine demo

say "Nothing is left behind"
rm "$dir/images/serial"
ls "$dir/images"
for image in "$dir"/images/*; do
    qemu-img check -q "$image" || fail "$image is damaged"
done
[ "$(ls "$dir/images" | wc -l)" -eq 2 ] || fail "files were left behind"
echo
echo "demo: done in $SECONDS s"
