#!/bin/sh
# The first process of the test guest: loads drivers, mounts two disks, starts the guest agent, then works or verifies.
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
exec </dev/console >/dev/console 2>&1

while read -r module; do
  insmod "/modules/$module.ko" 2>/dev/null
done </modules/order

mkdir -p /data/a /data/b /run/qemu-ga /tmp
ln -sf /proc/self/mounts /etc/mtab
uptime_of() { cut -d' ' -f1 /proc/uptime; }

if grep -qw verify /proc/cmdline; then
  mode=verify
else
  mode=work
fi

fail() {
  echo "FAILED $*"
  poweroff -f
}

mount_disk() {
  mount -t ext4 "/dev/$1" "$2" 2>/dev/null && return 0
  [ "$mode" = work ] || fail "$1 does not mount"
  # Tables and journal are written now, so that no kernel thread writes them behind the workload's back later. The path
  # in front of the name keeps the shell from taking its own program of that name.
  /bin/mke2fs -q -F -t ext4 -J size=4 -E lazy_itable_init=0,lazy_journal_init=0 "/dev/$1" || fail "$1 takes no file system"
  mount -t ext4 "/dev/$1" "$2" || fail "$1 does not mount"
}
mount_disk vda /data/a
mount_disk vdb /data/b

if [ "$mode" = verify ]; then
  exec /bin/sh /verify.sh
fi

for port in /sys/class/virtio-ports/*; do
  if [ "$(cat "$port/name" 2>/dev/null)" = org.qemu.guest_agent.0 ]; then
    qemu-ga -m virtio-serial -p "/dev/${port##*/}" -t /run/qemu-ga -f /run/qemu-ga/pid -l /tmp/qemu-ga.log &
  fi
done
echo "READY $(uptime_of)"
exec /bin/sh /workload.sh
