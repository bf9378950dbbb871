// The script that starts a machine of plain QEMU on its disks, also while they are still brought in. Pure.
import type { InstantRecord, Places } from './record.ts'

/** The program for machines of this host's processor, and what it takes them for. */
const ARM = process.arch === 'arm64'
export const QEMU_DEFAULT = ARM ? 'qemu-system-aarch64' : 'qemu-system-x86_64'
const MACHINE_DEFAULT = `${ARM ? 'virt' : 'q35'},accel=kvm:tcg`

const shell = (text: string): string =>
  /^[\w@%+=:,./-]+$/u.test(text) ? text : `'${text.replaceAll("'", String.raw`'\''`)}'`

/** Arguments with a line for each option. */
const lines = (args: readonly string[]): string =>
  args.map((one) => (one.startsWith('-') ? ` \\\n  ${shell(one)}` : ` ${shell(one)}`)).join('')

/** A value of QEMU's option syntax. */
const option = (text: string): string => text.replaceAll(',', ',,')

/** A drive whose guest is stopped, and told nothing, where a read or write fails. */
const drive = (file: string, id: string): string =>
  `file=${option(file)},format=qcow2,if=none,id=${id},discard=unmap,rerror=stop,werror=stop`

/** The id of a disk's device: its name, or its place where QEMU does not take the name as an id. */
const idOf = (name: string, index: number): string => (/^[A-Za-z][\w.-]{0,60}$/u.test(name) ? name : `other${index}`)

export interface ScriptOptions {
  readonly places: Places
  readonly record: InstantRecord
  /** The program that serves the disks when the script is run later. */
  readonly agent: string
  /** More arguments of QEMU. */
  readonly extra: readonly string[]
}

/** The script's text. */
export const startScript = ({ places, record, agent, extra }: ScriptOptions): string => {
  const { folder, ownQmp, pid } = places
  const disks = record.disks.flatMap(({ name, file }, index) => {
    const id = idOf(name, index)
    return ['-drive', drive(file, `drive-${id}`), '-device', `virtio-blk-pci,drive=drive-${id},id=${id}`]
  })
  const command = ['-name', option(record.machine), ...disks, '-qmp', `unix:${option(ownQmp)},server=on,wait=off`]
  return `#!/bin/sh
# Starts ${record.machine} as it was at ${new Date(record.timeMs).toISOString()}, on the disks in this folder. More arguments
# go to QEMU. What a point cannot know (networks, processors, what the machine was called with) is to be changed below.
set -eu
# QEMU keeps this open: a second one would take the first one's monitors away before it finds the disks in use
exec 9<${shell(places.script)}
if ! flock -n 9; then
  echo ${shell(`${record.machine} runs already on the disks in ${folder}`)} >&2
  exit 1
fi
if [ -e ${shell(places.record)} ]; then
  # not all of the disks is here yet: what is not is served from the gateway, and brought in while the machine runs
  ${shell(agent)} instant resume ${shell(folder)} --config ${shell(record.config)} 9<&- || [ ! -e ${shell(places.record)} ]
  [ ! -e ${shell(places.record)} ] || set -- -qmp ${shell(`unix:${option(places.qmp)},server=on,wait=off`)} "$@"
fi
exec "\${QEMU:-${QEMU_DEFAULT}}" -machine "\${MACHINE:-${MACHINE_DEFAULT}}" -m "\${MEMORY:-1024}" -nic none -display none${lines([...command, '-daemonize', '-pidfile', pid, ...extra])} "$@"
`
}
