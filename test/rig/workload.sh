#!/bin/sh
# The guest's work: writes files on both disks in turn, each durable before it is reported on the console, for ever.
#
# Every disk keeps a manifest, SUMS, with one "checksum  name" line per file. A report is one line:
#   REPORT SEQUENCE DISK wrote NAME BYTES SHA256     the file, its manifest line and its folder are on the disk
#   REPORT SEQUENCE DISK voids NAME                  from now on the file may change or go
#   REPORT SEQUENCE DISK removed NAME                the file is gone from manifest and folder, durably
PAUSE_SECONDS=0.1
FILES_KEPT=40
sequence=0
set -eu
trap 'fail "the workload ended"' EXIT

fail() {
  trap - EXIT
  echo "FAILED $*"
  poweroff -f
}

report() {
  sequence=$((sequence + 1))
  echo "REPORT $sequence $*"
}

# add DISK NAME: checks the file's bytes in, after which they may be reported.
add() {
  folder=/data/$1
  sum=$(sha256sum <"$folder/$2")
  sum=${sum%% *}
  echo "$sum  $2" >>"$folder/SUMS"
  sync "$folder/$2" "$folder/SUMS" "$folder"
  report "$1" wrote "$2" "$(stat -c %s "$folder/$2")" "$sum"
}

# drop DISK NAME: takes the file out of the manifest, durably, before anything happens to it.
drop() {
  folder=/data/$1
  report "$1" voids "$2"
  grep -v "  $2\$" "$folder/SUMS" >"$folder/SUMS.new"
  sync "$folder/SUMS.new"
  mv "$folder/SUMS.new" "$folder/SUMS"
  sync "$folder"
}

# Sizes from 1 byte to about 400 KiB; every third file ends in a run of zeroes.
create() {
  bytes=$(((n * 7919) % 399989 + 1))
  head -c $bytes /dev/urandom >"/data/$1/$2"
  if [ $((n % 3)) = 0 ]; then
    head -c 196608 /dev/zero >>"/data/$1/$2"
  fi
  add "$1" "$2"
}

n=0
while :; do
  for disk in a b; do
    n=$((n + 1))
    create $disk "f$n"
    old=f$((n - FILES_KEPT))
    if [ $n -gt $FILES_KEPT ]; then
      drop $disk "$old"
      rm "/data/$disk/$old"
      sync "/data/$disk"
      report $disk removed "$old"
    fi
    middle=f$((n - FILES_KEPT / 2))
    if [ $((n % 8)) -lt 2 ] && [ $n -gt $((FILES_KEPT / 2)) ]; then
      drop $disk "$middle"
      truncate -s $((n * 31)) "/data/$disk/$middle"
      add $disk "$middle"
    fi
    if [ $((n % 30)) -lt 2 ]; then
      fstrim "/data/$disk"
    fi
    sleep $PAUSE_SECONDS
  done
done
