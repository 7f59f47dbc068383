#!/bin/bash
# The Xen host of the tests, in a QEMU process without hardware virtualization.
#
#   rig.sh up                     build it if needed, boot it, and wait for dom0
#   rig.sh with COMMAND...        run COMMAND while it comes up; down again afterwards, if it was not up before
#   rig.sh run COMMAND...         run COMMAND in dom0; exit code and output are the command's (255: no dom0)
#   rig.sh push FILE [PATH]       copy FILE into dom0, by default into /root
#   rig.sh pull PATH FILE         copy PATH out of dom0
#   rig.sh log                    what Xen and dom0 said on their console
#   rig.sh down
#
# All is kept in target/xen-rig (or $VIRSNAP_XEN_RIG), and what belongs to one run of it in
# target/xen-rig/run:
#
#   pid     the QEMU process, from the first moment
#   state   when dom0 is ready: the ports on 127.0.0.1, `ssh=PORT` and `bus=PORT` (dom0's D-Bus, for
#           anonymous clients). QEMU picks free ones, so that checkouts on one machine do not meet.
#   share   /share in dom0; guests' consoles are logged to share/console
#
# Beside them, for whoever waits for dom0: `skip` holds why there can be none on this machine, `failed`
# why it did not come up.
#
# Each `up` begins with a fresh overlay over dom0's disk. Nothing in it can reach the network.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${VIRSNAP_XEN_RIG:-${CARGO_TARGET_DIR:-$(cd "$here/../../.." && pwd)/target}/xen-rig}
mkdir -p "$out"
out=$(cd "$out" && pwd)
run=$out/run

alive() { # the process of the pid file, and not another one that got its number
    [ -f "$run/pid" ] && grep -qaF "$run/dom0.qcow2" "/proc/$(cat "$run/pid")/cmdline" 2>/dev/null
}
value() { # value NAME: of the state file
    sed -n "s/^$1=//p" "$run/state" 2>/dev/null
}
dom0() { # dom0 COMMAND: one connection, made by `up`, is shared by all
    ssh -F none -i "$out/id_ed25519" -p "${port:-$(value ssh)}" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
        -o LogLevel=ERROR -o BatchMode=yes -o ConnectTimeout=20 -o ControlPath="$run/ssh" "${ssh[@]}" root@127.0.0.1 \
        "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin; $*" 9>&-
}
ssh=(-o ControlMaster=no)

boot() {
    rm -rf "$run"
    mkdir -p "$run/share"
    mkfifo "$run/monitor.in" "$run/monitor.out"
    qemu-img create -q -f qcow2 -F raw -b "$out/dom0.img" "$run/dom0.qcow2"
    # XSAVE, which Xen under tcg gets wrong, is what this processor must not have.
    setsid qemu-system-x86_64 -accel tcg,thread=multi -cpu qemu64,+svm,+npt,+ssse3,+sse4.1,+sse4.2,+popcnt \
        -smp 2 -m 2048 -nodefaults -no-user-config -display none -no-reboot \
        -serial "file:$run/console" -monitor "pipe:$run/monitor" \
        -kernel "$out/xen" -append "console=com1 com1=115200,8n1 bootscrub=0 spec-ctrl=no dom0_mem=768M,max:768M" \
        -initrd "$out/kernel-dom0 console=hvc0 quiet random.trust_cpu=on net.ifnames=0 apparmor=0 mitigations=off,$out/initrd-dom0" \
        -drive "if=virtio,format=qcow2,file=$run/dom0.qcow2,cache=unsafe" -device virtio-rng-pci \
        -netdev "user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:0-:22,hostfwd=tcp:127.0.0.1:0-:7000" \
        -device virtio-net-pci,netdev=net,romfile= \
        -virtfs "local,path=$run/share,mount_tag=share,security_model=none" \
        </dev/null >"$run/qemu.log" 2>&1 9>&- &
    echo $! >"$run/pid"
    local deadline=$((SECONDS + 180)) forwarded bus
    until grep -aq 'rig: dom0 is up' "$run/console" 2>/dev/null; do
        if ! kill -0 "$(cat "$run/pid")" 2>/dev/null; then
            echo "QEMU ended: $(cat "$run/qemu.log")" >&2
            return 1
        elif [ $SECONDS -gt $deadline ]; then
            echo "no dom0 after three minutes: $(tail -n 5 "$run/console")" >&2
            return 1
        fi
        sleep 0.2
    done
    # A line per forwarding: TCP[HOST_FORWARD] FD SOURCE PORT DESTINATION PORT ...
    echo 'info usernet' >"$run/monitor.in"
    forwarded=$(timeout 1 cat "$run/monitor.out" || :)
    port=$(awk '/HOST_FORWARD/ && $6 == 22 { print $4 }' <<<"$forwarded")
    bus=$(awk '/HOST_FORWARD/ && $6 == 7000 { print $4 }' <<<"$forwarded")
    [ -n "$port" ] && [ -n "$bus" ] || { echo "no ports: $forwarded" >&2 && return 1; }
    ssh=(-o ControlMaster=yes -o ControlPersist=yes)
    dom0 true </dev/null >/dev/null 2>"$run/ssh.log" || { cat "$run/ssh.log" >&2 && return 1; }
    printf '%s\n' "ssh=$port" "bus=$bus" "built=$(cat "$out/built")" >"$run/state.new"
    mv "$run/state.new" "$run/state"
}

up() { # 0: it was up, or is now; 3: it cannot be on this machine
    exec 9>"$out/lock"
    flock 9
    bash "$here/build.sh"
    [ -f "$out/built" ] || return 3
    if alive && [ "$(value built)" = "$(cat "$out/built")" ]; then
        return 0
    fi
    down
    local start
    start=$(date +%s%N)
    rm -f "$out/failed"
    if ! boot 2>"$out/failed.new"; then
        mv "$out/failed.new" "$out/failed"
        echo "xen-rig: it did not come up: $(cat "$out/failed")" >&2
        down
        return 1
    fi
    echo "xen-rig: up in $((($(date +%s%N) - start) / 1000000)) ms"
}

down() {
    alive || return 0
    local pid
    pid=$(cat "$run/pid")
    rm -f "$run/state"
    kill "$pid"
    while alive; do sleep 0.1; done
    rm -rf "$run"
}

case ${1:-} in
up)
    up
    ;;
with)
    shift
    alive && was_up=yes || was_up=
    export VIRSNAP_XEN_RIG=$out
    rm -f "$out/skip" "$out/failed"
    # Interrupted, it still goes down.
    trap : INT TERM
    "$0" up &
    coming=$!
    code=0
    "$@" || code=$?
    wait $coming || :
    [ -n "$was_up" ] || "$0" down
    # Said again where it is seen: after the tests.
    cat "$out/skip" "$out/failed" >&2 2>/dev/null || :
    exit $code
    ;;
run)
    shift
    dom0 "$@"
    ;;
push)
    to=${3:-/root/$(basename "$2")}
    dom0 "cat >'$to.part' && chmod $(stat -c %a "$2") '$to.part' && mv '$to.part' '$to'" <"$2"
    ;;
pull)
    dom0 "cat '$2'" >"$3"
    ;;
log)
    cat "$run/console"
    ;;
down)
    down
    ;;
*)
    sed -n '2,/^set /{s/^# \{0,1\}//;/^set /d;p}' "$0" >&2
    exit 2
    ;;
esac
