#!/bin/sh
# Imitates vhd-util and td-util for the tests: writes its command line to `calls` beside itself, fails if there is a file `fail`
# there, and as `snapshot` makes a copy of `made`.
here=${0%/*}; program=${0##*/}
echo "$program $*" | sed "s|$here/||g" >> "$here/calls"
[ -e "$here/fail" ] && { echo 'error opening x: -22'; exit 22; }
case "$program $1" in *' snapshot') for word in "$@"; do [ "$word" = "$here/top" ] && cp "$here/made" "$word"; done;; esac
exit 0
