// The script that starts a restored machine with plain QEMU, from the command line that its restore point has, or without one
// from what is known of the machine. Pure.
import * as v from 'valibot'
import { VarveError } from '../../protocol/errors.ts'
import { PROGRAM } from './qemu-devices.ts'
import { movedCommand, type CommandWishes } from './moved-command.ts'
import { shellQuoted, shellWords } from './shell-words.ts'

export interface ScriptWishes extends CommandWishes {
  /** What is restored, for the script's first line. */
  readonly title: string
}

export interface QemuCommand {
  readonly program: string
  readonly words: readonly string[]
}

export interface ScriptPlan {
  readonly script: string
  /** What the script starts; null where it is a guess. */
  readonly command: QemuCommand | null
  readonly name: string | null
  readonly uuid: string | null
  /** What is not as it was, and what a person has to do, each a sentence. */
  readonly remarks: readonly string[]
}

/** What the script holds where nothing is known: memory in bytes. */
const MEMORY_DEFAULT_BYTES = 1024 ** 3

/** Longest line of the script's comments, in characters. */
const COMMENT_CHARS_MAX = 300

/** A program of the system by its path, any other one by its name. DATA_DAMAGED for what is no QEMU. */
export const programOf = (said: string, isHere: (path: string) => boolean): string => {
  const name = said.split('/').at(-1) ?? ''
  if (!PROGRAM.test(name))
    throw new VarveError(
      'DATA_DAMAGED',
      `command-line of the restore point starts ${JSON.stringify(said.slice(0, 80))}, which is no QEMU: restore without --define, and look at it`,
    )
  return said.startsWith('/usr/') && !said.split('/').includes('..') && isHere(said) ? said : name
}

const comment = (text: string): string => `# ${text.replaceAll(/\p{Cc}/gu, ' ').slice(0, COMMENT_CHARS_MAX)}\n`

/** One option with its value a line. */
const linesOf = (words: readonly string[]): string => {
  const lines: string[] = []
  for (const word of words) {
    if (word.startsWith('-') || lines.length === 0) lines.push(shellQuoted(word))
    else lines[lines.length - 1] += ` ${shellQuoted(word)}`
  }
  return lines.map((line) => `  ${line} \\\n`).join('')
}

const scriptOf = (title: string, program: string, words: readonly string[], remarks: readonly string[]): string =>
  [
    '#!/bin/sh\n',
    comment(`${title}, restored by Varve. Arguments of this script go to QEMU too, such as -daemonize.`),
    ...(remarks.length === 0 ? [] : [comment('Not as it was:')]),
    ...remarks.map((remark) => comment(`- ${remark}`)),
    'set -eu\ncd "$(dirname -- "$0")"\n',
    `exec ${shellQuoted(program)} \\\n${linesOf(words)}  "$@"\n`,
  ].join('')

const known = v.object({
  cpuCount: v.fallback(v.nullable(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(4096))), null),
  memoryBytes: v.fallback(v.nullable(v.pipe(v.number(), v.integer(), v.minValue(1024 ** 2))), null),
  architecture: v.fallback(v.nullable(v.picklist(['x86_64', 'i386', 'aarch64', 'ppc64', 's390x', 'riscv64'])), null),
})

/** What the agent noted of a machine; null for what it did not, or what is none. */
export const knownOf = (configuration: string): v.InferOutput<typeof known> => {
  const nothing = { cpuCount: null, memoryBytes: null, architecture: null }
  try {
    const read = v.safeParse(known, { ...nothing, ...(JSON.parse(configuration) as object) })
    return read.success ? read.output : nothing
  } catch {
    return nothing
  }
}

/** A machine of which only its disks, memory and processors are known. */
const minimal = (configuration: string, wishes: ScriptWishes): ScriptPlan => {
  const { cpuCount, memoryBytes, architecture } = knownOf(configuration)
  const uuid = wishes.newUuid()
  const memory = Math.ceil((memoryBytes ?? MEMORY_DEFAULT_BYTES) / 1024 ** 2)
  const machine = architecture === null || architecture === 'x86_64' ? ['-machine', 'q35,accel=kvm:tcg'] : []
  const disks = [...wishes.disks.values()].flatMap(({ file, format }) => [
    '-drive',
    `file=${file},format=${format},if=virtio`,
  ])
  const name = wishes.name === null ? [] : ['-name', `guest=${wishes.name.replaceAll(',', ',,')}`]
  const words = [
    ...name,
    '-uuid',
    uuid,
    ...machine,
    '-m',
    String(memory),
    '-smp',
    String(cpuCount ?? 1),
    ...disks,
    '-nic',
    'user',
    '-vnc',
    'unix:vnc.sock',
    '-qmp',
    'unix:qmp.sock,server=on,wait=off',
  ]
  const remarks = [
    'the restore point does not have how QEMU was started: firmware, kinds of disks, network cards and their addresses are guesses',
    ...(memoryBytes === null ? ['its memory is not known'] : []),
  ]
  const script = scriptOf(wishes.title, `qemu-system-${architecture ?? 'x86_64'}`, words, remarks)
  return { script, command: null, name: wishes.name, uuid, remarks }
}

/** From the attachment `command-line`, or without one from the configuration. DATA_DAMAGED for what is no command of QEMU. */
export const planScript = (command: string | null, configuration: string, wishes: ScriptWishes): ScriptPlan => {
  if (command === null) return minimal(configuration, wishes)
  const [said = '', ...args] = shellWords(command)
  const program = programOf(said, wishes.isHere)
  const { words, name, uuid, remarks } = movedCommand(args, wishes)
  return { script: scriptOf(wishes.title, program, words, remarks), command: { program, words }, name, uuid, remarks }
}
