#!/bin/sh
# Makes sure that what a command of this repository needs is installed, then becomes that command.
#
#   sh test/setup.sh [--debian GROUP,GROUP...] -- COMMAND [ARGUMENT...]
#
# npm packages are installed when the lock file is newer than they are, Debian packages of the named groups when one is
# missing; the console is built when a source is newer than its bundle. Nothing is printed when all is there; progress goes to standard error.
set -eu

say() { printf 'setup: %s\n' "$*" >&2; }

fail() {
  say "$*"
  exit 1
}

packages_of() {
  case "$1" in
    qemu) echo 'qemu-system-x86 qemu-utils libnbd-bin openssl' ;;
    guest) echo 'e2fsprogs xz-utils' ;;
    browser) echo 'chromium-headless-shell' ;;
    libvirt) echo 'libvirt-daemon libvirt-daemon-driver-qemu libvirt-clients virtnbdbackup acl' ;;
    bench) echo 'restic borgbackup zstd e2fsprogs diffutils python3-libnbd gcc libc6-dev' ;;
    prometheus) echo 'prometheus' ;;
    bare) echo 'debootstrap git' ;;
    node) echo 'libatomic1 libstdc++6' ;;
    *) fail "there is no package group \"$1\"" ;;
  esac
}

missing_of() {
  for package in "$@"; do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) || status=missing
    [ "$status" = installed ] || printf '%s ' "$package"
  done
}

# The tests start what they need by themselves: a service that a package would start, and at every boot, is masked first.
mask_service() {
  [ -d /etc/systemd/system ] || return 0
  [ -e "/etc/systemd/system/$1" ] || ln -s /dev/null "/etc/systemd/system/$1"
}

# Runs a command with its output in a file, which is shown only when the command fails.
quietly() {
  log=$(mktemp)
  if "$@" >"$log" 2>&1 </dev/null; then
    rm -f "$log"
    return 0
  fi
  tail -n 40 "$log" >&2
  rm -f "$log"
  return 1
}

apt_install() {
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends -o DPkg::Lock::Timeout=300 "$@"
}

install_debian() {
  command -v dpkg-query >/dev/null || fail 'this is not a Debian system; install the tools by hand and leave out --debian'
  packages=''
  for group in $(printf '%s' "$1" | tr ',' ' '); do
    found=$(packages_of "$group") || exit 1
    packages="$packages $found"
  done
  # shellcheck disable=SC2086
  missing=$(missing_of $packages)
  [ -n "$missing" ] || return 0
  if [ "$(id -u)" != 0 ]; then
    say 'Debian packages are missing; as root run:'
    say "  apt-get update && apt-get install -y --no-install-recommends $missing"
    exit 1
  fi
  say "installing Debian packages: $missing"
  # A source that does not answer must not stop the others, so only the installation's own result counts.
  apt-get update -q -o DPkg::Lock::Timeout=300 >/dev/null 2>&1 </dev/null || true
  case " $missing " in *' prometheus '*) mask_service prometheus.service ;; esac
  # shellcheck disable=SC2086
  quietly apt_install $missing || fail "apt-get could not install: $missing"
}

# The restic of Debian sid for the benchmark, beside Debian 12's own: unpacked, not installed, from this machine's mirror. It
# stays once it is there; what stands in its way is kept for the results, and is no reason to fail.
fetch_restic() {
  kept=node_modules/.cache/restic
  if [ -x $kept/restic ] || [ ! -w node_modules ]; then return 0; fi
  mkdir -p $kept
  say 'fetching the restic of Debian sid'
  work=$(mktemp -d)
  if unpack_restic "$work" "$PWD/$kept" >"$work/log" 2>&1 </dev/null; then
    rm -f $kept/missing
  else
    { grep -m 1 '^[EW]: ' "$work/log" || tail -n 1 "$work/log"; } >$kept/missing
    say "there is none: $(cat $kept/missing)"
  fi
  rm -rf "$work"
}

# Through an apt of its own, which knows nothing of what is installed here. Errors must be checked one by one: within a
# condition the shell does not end at them.
unpack_restic() (
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' | grep '/debian/$' | head -n 1)
  [ -n "$mirror" ] || { echo 'no Debian mirror is set up here'; exit 1; }
  mkdir -p "$1/lists/partial" "$1/cache/archives/partial"
  : >"$1/status"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror sid main" >"$1/sources.list"
  cat >"$1/apt.conf" <<SETTINGS
Dir::State "$1";
Dir::State::status "$1/status";
Dir::Cache "$1/cache";
Dir::Etc::sourcelist "$1/sources.list";
Dir::Etc::sourceparts "-";
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
Acquire::http::Timeout "20";
SETTINGS
  export APT_CONFIG="$1/apt.conf"
  cd "$1" && apt-get update -q && apt-get download -q restic && dpkg-deb -x restic_*.deb . &&
    usr/bin/restic version && cp usr/bin/restic "$2"
)

npm_is_current() {
  [ -f node_modules/.package-lock.json ] && [ ! package-lock.json -nt node_modules/.package-lock.json ]
}

install_npm() {
  npm_is_current && return 0
  [ -w . ] || fail "the npm packages are older than package-lock.json; as the owner of $PWD run: npm ci --omit=dev"
  # Two commands started at once in a fresh clone must not install over each other.
  exec 9<package-lock.json
  if command -v flock >/dev/null; then flock 9; fi
  if ! npm_is_current; then
    say 'installing npm packages'
    quietly npm ci --no-audit --no-fund --loglevel=error || fail 'npm ci failed'
    touch node_modules/.package-lock.json
  fi
  exec 9<&-
}

# A file of the console, of what it shares with the programs or of the packages that is newer than its bundle.
console_news() {
  [ -f gateway/console/dist/.built ] || { echo none; return 0; }
  # the folder of the bundle changes with it; a source that is gone changes the folder that it was in
  find gateway/console protocol package-lock.json -mindepth 0 \
    \( -path 'gateway/console/dist*' -prune \) -o \( ! -path gateway/console -newer gateway/console/dist/.built -print \) 2>/dev/null |
    head -n 1
}

# The gateway serves the console as one bundle. A console that cannot be built must not keep anything else from running.
build_console() {
  [ -f gateway/console/main.tsx ] && [ -w gateway/console ] && [ -n "$(console_news)" ] || return 0
  exec 9<package-lock.json
  if command -v flock >/dev/null; then flock 9; fi
  if [ -n "$(console_news)" ]; then
    quietly node gateway/console/build.ts || say 'the console could not be built; its last bundle, if any, is still served'
  fi
  exec 9<&-
}

# The folder of the bundled Node; npm's own link to it is not dependable, as Debian 12's npm makes none.
bundled=''
bundled_starts() {
  for bundled in "$PWD"/node_modules/node-linux-*/bin; do
    if "$bundled/node" -e 0 >/dev/null 2>&1; then return 0; fi
  done
  return 1
}

# Puts a Node that runs the sources as they are first in PATH: the bundled one, else the machine's.
choose_node() {
  if ! bundled_starts; then
    major=$(node -p 'process.versions.node.split(".")[0]' 2>/dev/null || echo 0)
    if [ "$major" -ge 24 ]; then
      # The bundled file may be there without starting, so the machine's Node must stay in front of it.
      PATH="$(dirname "$(command -v node)"):$PWD/node_modules/.bin:$PATH"
      return 0
    fi
    # A minimal system may lack libraries that Node needs.
    if command -v dpkg-query >/dev/null; then install_debian node; fi
    bundled_starts || fail 'neither the bundled Node nor one of version 24 or later starts on this machine'
  fi
  PATH="$bundled:$PWD/node_modules/.bin:$PATH"
}

groups=''
while [ $# -gt 0 ]; do
  case "$1" in
    --debian)
      [ $# -ge 2 ] || fail '--debian needs a list of package groups'
      groups=$2
      shift 2
      ;;
    --)
      shift
      break
      ;;
    *) fail "unknown argument: $1" ;;
  esac
done
[ $# -gt 0 ] || fail 'usage: sh test/setup.sh [--debian GROUP,...] -- COMMAND [ARGUMENT...]'

root=$(cd "$(dirname "$0")/.." && pwd)
started_in=$PWD
cd "$root"
# npm itself must not run on a Node that it is about to replace.
PATH=$(printf '%s' "$PATH" | tr ':' '\n' | grep -v -e '/node_modules/\.bin$' -e '/node_modules/node-linux-[^/]*/bin$' -e '/node-gyp-bin$' | paste -s -d : -):/usr/sbin:/sbin
export PATH
[ -z "$groups" ] || install_debian "$groups"
install_npm
case ",$groups," in *,bench,*) fetch_restic ;; esac
choose_node
export PATH
# What Node makes of the sources is kept beside the packages: commands and threads start in a third of the time.
export NODE_COMPILE_CACHE="${NODE_COMPILE_CACHE:-$root/node_modules/.cache/compile}"
case "$*" in 'node gateway/console/build.ts') ;; *) build_console ;; esac
# Another user's home, say, from which root runs a command as that user: nothing there can be meant.
cd "$started_in" 2>/dev/null || cd /
exec "$@"
