#!/bin/sh
# Makes a folder whose usr/ is that of another Debian, with its QEMU and libvirt: unpacked, not installed, from the mirror of this
# machine's own apt, through an apt that knows nothing of what is installed here.
#
#   sh test/versions/root.sh SUITE FOLDER
set -eu

suite=$1
folder=$2
# what tests and the product call on a host, besides QEMU and libvirt
packages='?essential qemu-system-x86 qemu-utils qemu-system-common qemu-block-extra libvirt-daemon libvirt-daemon-driver-qemu
  libvirt-clients libnbd-bin openssl e2fsprogs xz-utils cpio procps acl iproute2 libatomic1 libstdc++6 perl-base mawk'

mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' | grep '/debian/$' | head -n 1)
[ -n "$mirror" ] || { echo 'no Debian mirror is set up here' >&2; exit 1; }
keys=/usr/share/keyrings/debian-archive-keyring.gpg

rm -rf "$folder"
apt=$folder/apt
mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
: >"$apt/status"
source="deb [signed-by=$keys] $mirror"
echo "$source $suite main" >"$apt/sources.list"
case $suite in *-backports) echo "$source ${suite%-backports} main" >>"$apt/sources.list" ;; esac
# a mirror may be older than a suite's lists say that they are good for; their signatures are checked all the same
cat >"$apt/apt.conf" <<SETTINGS
Dir::State "$apt";
Dir::State::status "$apt/status";
Dir::Cache "$apt/cache";
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "-";
APT::Sandbox::User "root";
APT::Install-Recommends "false";
APT::Update::Error-Mode "any";
APT::Default-Release "$suite";
Acquire::Check-Valid-Until "false";
Acquire::Languages "none";
Acquire::http::Timeout "60";
SETTINGS
export APT_CONFIG="$apt/apt.conf"
apt-get update -q
# a package of its own since libvirt 11
if apt-cache show libvirt-daemon-driver-secret >/dev/null 2>&1; then packages="$packages libvirt-daemon-driver-secret"; fi
# shellcheck disable=SC2086
apt-get install -q -y --download-only $packages

for place in bin sbin lib lib64; do
  mkdir -p "$folder/usr/$place"
  ln -s "usr/$place" "$folder/$place"
done
for package in "$apt"/cache/archives/*.deb; do
  dpkg-deb --fsys-tarfile "$package" >"$apt/package.tar"
  tar -x -f "$apt/package.tar" -C "$folder" --keep-directory-symlink --exclude './dev/*' \
    --exclude './usr/share/doc/*' --exclude './usr/share/man/*' --exclude './usr/share/locale/*'
done
# what packages would do as they are installed
[ -e "$folder/usr/bin/sh" ] || ln -s dash "$folder/usr/bin/sh"
[ -e "$folder/usr/bin/awk" ] || ln -s mawk "$folder/usr/bin/awk"
rm -rf "$apt"
date -u +%F >"$folder/made"
