// The script that starts a machine of plain QEMU on its disks, also while they are still brought in. Pure.
import type { QemuCommand } from '../define/start-script.ts'
import { optionText } from '../define/qemu-devices.ts'
import { shellQuoted as shell } from '../define/shell-words.ts'
import { parseOptions } from '../processes/option-text.ts'
import type { InstantRecord, Places } from './record.ts'

/** The program for machines of this host's processor, and what it takes them for. */
const ARM = process.arch === 'arm64'
export const QEMU_DEFAULT = ARM ? 'qemu-system-aarch64' : 'qemu-system-x86_64'
const MACHINE_DEFAULT = `${ARM ? 'virt' : 'q35'},accel=kvm:tcg`

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
  /** How the machine was started, with files named from the folder; null where the point does not have it. */
  readonly command: QemuCommand | null
  /** The program that serves the disks when the script is run later. */
  readonly agent: string
  /** More arguments of QEMU. */
  readonly extra: readonly string[]
}

const STOPPING = [
  ['rerror', 'stop'],
  ['werror', 'stop'],
] as const

/** Kinds of drives and devices that can stop the guest. */
const KINDS = new Set(['virtio', 'ide', 'scsi', 'none'])
const DEVICES = /^(?:virtio-blk|scsi-hd|ide-hd)/u

/** Options whose sockets lie in the folder: the file's place in the value, which is the folder's own name for it. */
const SOCKETS: Readonly<Record<string, RegExp>> = {
  '-qmp': /^unix:([\w-]+\.sock)(?=,|$)/u,
  '-vnc': /^unix:([\w-]+\.sock)(?=,|$)/u,
  '-chardev': /^socket,.*\bpath=([\w-]+\.sock)(?=,|$)/u,
}

const socketIn = (before: string | undefined, word: string): string | null =>
  before !== undefined && Object.hasOwn(SOCKETS, before) ? (SOCKETS[before]!.exec(word)?.[1] ?? null) : null

/** The sockets that a machine makes in its folder, by their names there. */
export const socketsOf = ({ words }: QemuCommand): string[] =>
  words.map((word, index) => socketIn(words[index - 1], word)).filter((name) => name !== null)

/** The point's own words, with the disks named in full, as QEMU tells them, and a guest that is stopped where one fails. */
const ownWords = ({ words }: QemuCommand, { disks }: InstantRecord, folder: string): string[] => {
  const files = new Set(disks.map(({ file }) => file))
  const fileOf = (name: string | undefined): string | null => {
    const file = `${folder}/${name ?? ''}`
    return files.has(file) ? file : null
  }
  const nodes = new Set<string>()
  return words.map((word, index) => {
    const before = words[index - 1]
    if (before === '-drive') {
      const options = parseOptions(word)
      const file = fileOf(options.get('file'))
      if (file === null) return word
      const stopping = KINDS.has(options.get('if') ?? 'ide') ? STOPPING : []
      return optionText(new Map([...options, ...stopping, ['file', file]]))
    }
    if (before === '-blockdev') {
      const options = parseOptions(word, 'driver')
      const file = fileOf(options.get('file.filename'))
      if (file === null) return word
      nodes.add(options.get('node-name') ?? '')
      return optionText(new Map([...options, ['file.filename', file]]))
    }
    // in full, as QEMU removes them from where it is by then
    const socket = socketIn(before, word)
    if (socket !== null) return word.replace(socket, `${option(folder)}/${socket}`)
    if (before !== '-device') return word
    const options = parseOptions(word, 'driver')
    const isOurs = nodes.has(options.get('drive') ?? '') && DEVICES.test(options.get('driver') ?? '')
    return isOurs ? optionText(new Map([...options, ...STOPPING]), 'driver') : word
  })
}

/** The command of a machine of which the point has nothing but its disks. */
const guessed = ({ ownQmp }: Places, { machine, disks }: InstantRecord): string => {
  const drives = disks.flatMap(({ name, file }, index) => {
    const id = idOf(name, index)
    return ['-drive', drive(file, `drive-${id}`), '-device', `virtio-blk-pci,drive=drive-${id},id=${id}`]
  })
  const words = ['-name', option(machine), ...drives, '-qmp', `unix:${option(ownQmp)},server=on,wait=off`]
  return `exec "\${QEMU:-${QEMU_DEFAULT}}" -machine "\${MACHINE:-${MACHINE_DEFAULT}}" -m "\${MEMORY:-1024}" -nic none -display none${lines(words)}`
}

const known = (command: QemuCommand, record: InstantRecord, folder: string): string => `cd ${shell(folder)}
program=${shell(command.program)}
exec "\${QEMU:-$program}"${lines(ownWords(command, record, folder))}`

/** The script's text. */
export const startScript = ({ places, record, command, agent, extra }: ScriptOptions): string => {
  const { folder, pid } = places
  const said =
    command === null
      ? 'What the point does not have (networks, processors, what the machine was called with) is to be changed below.'
      : 'Below is how the machine was started when it was backed up, changed for this host.'
  return `#!/bin/sh
# Starts ${record.machine} as it was at ${new Date(record.timeMs).toISOString()}, on the disks in this folder. More arguments
# go to QEMU. ${said}
set -eu
# QEMU keeps this open: a second one would take the first one's monitors away before it finds the disks in use
exec 9<${shell(places.script)}
if ! flock -n 9; then
  echo ${shell(`${record.machine} runs already on the disks in ${folder}`)} >&2
  exit 1
fi
if [ -e ${shell(places.record)} ]; then
  # not all of the disks is here yet: what is not is served from the gateway, and brought in while the machine runs
  ${shell(agent)} instant resume ${shell(folder)} 9<&- || [ ! -e ${shell(places.record)} ]
  if [ -e ${shell(places.record)} ]; then
    # before "instant abandon" deletes what the guest wrote it asks twice
    : >${shell(places.ran)}
    set -- -qmp ${shell(`unix:${option(places.qmp)},server=on,wait=off`)} "$@"
  fi
fi
${command === null ? guessed(places, record) : known(command, record, folder)}${lines(['-daemonize', '-pidfile', pid, ...extra])} "$@"
`
}
