#!/bin/bash
# Ask virsnapd the snapshot questions that libvirt 11.3 was asked, and compare the answers with the record.
#
#   run.sh VIRSNAPD [--shards N] [--sample N | --only REGEX]
#
# A sample has cases of every family, always the same ones.
#
# Leaves with 0 only if every case agrees, but for deviations.jsonl (what the recorder allows) and
# deliberate.jsonl (where virsnap means to differ; the reasons are at the planner's rules too).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
virsnapd=$(realpath "$1")
shift
shards=1 sample=0 only=.
while [ $# -gt 0 ]; do
    case $1 in
    --shards) shards=$2 ;;
    --sample) sample=$2 ;;
    --only) only=$2 ;;
    *) echo "run.sh: unknown option $1" >&2 && exit 2 ;;
    esac
    shift 2
done
emulator=${CARGO_TARGET_DIR:-$here/../../target}/qemu-10/bin/qemu-system-x86_64
emulator=$(realpath -m "$emulator")
# The system's own: the bindings are Debian packages.
python=/usr/bin/python3
[ -x "$emulator" ] || { echo "SKIP: the record is of QEMU 10, which is not at $emulator: run tests/setup.sh"; exit 77; }
$python -c 'import dbus, gi' || { echo "SKIP: $python has no dbus and gi: run tests/setup.sh"; exit 77; }

# Short: a Unix socket's path has 107 bytes.
work=$(mktemp -d /tmp/vsoXXXXXX)
buses=()
stop() {
    pkill -f "^$work/virsnapd" || true
    [ ${#buses[@]} = 0 ] || kill "${buses[@]}" 2>/dev/null || true
    # Guests outlive their daemon.
    pkill -9 -f "$work/" || true
    rm -rf "$work"
}
trap stop EXIT
# A name of its own, to tell these daemons from others.
ln -s "$virsnapd" "$work/virsnapd"
zcat "$here/oracle-dev.jsonl.gz" | $python "$here/sample.py" "$sample" "$only" >"$work/expected"
cat "$here/deviations.jsonl" "$here/deliberate.jsonl" >"$work/deviations"

shard() { # shard I
    local at=$work/$1
    mkdir "$at"
    cat >"$at/bus.conf" <<CONF
<busconfig><type>session</type><listen>unix:path=$at/bus</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/><allow user="*"/></policy>
<limit name="reply_timeout">600000</limit><limit name="max_message_size">134217728</limit></busconfig>
CONF
    cat >"$at/start" <<START
#!/bin/sh
setsid "$work/virsnapd" --bus unix:path=$at/bus --state-dir $at/state --runtime-dir $at/run >>$at/log 2>&1 &
sleep 0.5
START
    chmod +x "$at/start"
    dbus-daemon --config-file="$at/bus.conf" --nofork --nopidfile 2>>"$at/log" &
    buses+=($!)
    until [ -S "$at/bus" ]; do sleep 0.05; done
    "$at/start"
    $python "$here/replay.py" --bus "unix:path=$at/bus" --images "$at/images" --expected "$work/expected" \
        --out "$at/results" --restart-cmd "$at/start" --emulator "$emulator" --shard "$1/$shards" >"$at/replay" 2>&1 &
    replays+=($!)
}

replays=()
for i in $(seq "$shards"); do
    shard "$i"
done
for replay in "${replays[@]}"; do
    wait "$replay" || { tail -n 20 "$work"/*/replay; exit 1; }
done
$python "$here/compare.py" "$work/expected" "$work"/*/results --deviations "$work/deviations" --list 20
