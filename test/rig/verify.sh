#!/bin/sh
# The guest's check of restored disks: every file of both manifests is read and compared, then the machine goes off.
ok=0
bad=0
for disk in a b; do
  while read -r sum name; do
    found=$(sha256sum <"/data/$disk/$name")
    if [ "${found%% *}" = "$sum" ]; then
      ok=$((ok + 1))
    else
      bad=$((bad + 1))
      echo "VERIFY-BAD $disk $name"
    fi
  done <"/data/$disk/SUMS"
done
umount /data/a
umount /data/b
echo "VERIFY ok=$ok bad=$bad"
poweroff -f
