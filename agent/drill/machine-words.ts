// How a machine is started for a drill, by what its restore point tells of it: its command line, its domain, or its size alone.
// Pure.
import { movedCommand } from '../define/moved-command.ts'
import { optionText } from '../define/qemu-devices.ts'
import { shellWords } from '../define/shell-words.ts'
import { knownOf, programOf } from '../define/start-script.ts'
import { givenOf, type Given } from '../processes/given-options.ts'
import { parseOptions } from '../processes/option-text.ts'
import { domainWords, type DomainSource, type MachineWords } from './domain-words.ts'

export interface MachineSource extends DomainSource {
  readonly machine: string
  /** Attachments of the point; null where it has none of them. */
  readonly domain: string | null
  readonly command: string | null
  /** What the agent noted of the machine, as JSON. */
  readonly configuration: string
}

const MIB = 1024 ** 2

/** QEMU's own default of a machine's memory, in bytes. */
const MEMORY_DEFAULT_BYTES = 128 * MIB

/** Memory of a machine of which nothing is known, in bytes: 1 GiB. */
const MEMORY_GUESS_BYTES = 1024 * MIB

const UNITS: Readonly<Record<string, number>> = { B: 1, K: 1024, M: MIB, G: 1024 ** 3, T: 1024 ** 4 }

/** A size as `-m` takes it, in MiB without a unit; null for none. */
const bytesOf = (text: string): number | null => {
  const [, number, unit = 'M'] = /^(\d{1,12}(?:\.\d{1,6})?)([BKMGT]?)/iu.exec(text) ?? []
  return number === undefined ? null : Math.floor(Number(number) * UNITS[unit.toUpperCase() || 'M']!)
}

const lastOf = (given: readonly Given[], option: string, implied: string): ReadonlyMap<string, string> => {
  const value = given.findLast((one) => one.option === option)?.value
  return value === undefined ? new Map() : parseOptions(value, implied)
}

const cpusOf = (smp: ReadonlyMap<string, string>): number => {
  const said = (key: string): number =>
    Math.min(4096, Math.max(1, Number(/^\d{1,4}$/u.exec(smp.get(key) ?? '')?.[0] ?? 1)))
  return smp.has('cpus') ? said('cpus') : said('sockets') * said('dies') * said('cores') * said('threads')
}

/** Sentences about networks, which a drill has none of, and about what a person might do about them. */
const OF_NETWORKS = /\bnetwork\b/u

const ofCommand = (command: string, source: MachineSource): MachineWords => {
  const [said = '', ...args] = shellWords(command)
  const { words, remarks } = movedCommand(args, {
    name: null,
    newIds: false,
    disks: source.disks,
    files: source.files,
    isHere: source.isHere,
    // asked for only where it has a strange one
    newUuid: () => '00000000-0000-4000-8000-000000000000',
    newMac: () => '52:54:00:00:00:01',
  })
  const given = givenOf(args)
  const memoryBytes = bytesOf(lastOf(given, 'm', 'size').get('size') ?? '') ?? MEMORY_DEFAULT_BYTES
  return {
    program: programOf(said, source.isHere),
    words,
    size: { memoryBytes, cpus: cpusOf(lastOf(given, 'smp', 'cpus')) },
    remarks: remarks.filter((remark) => !OF_NETWORKS.test(remark)),
  }
}

const ofNothing = ({ machine, configuration, disks }: MachineSource): MachineWords => {
  const { cpuCount, memoryBytes, architecture } = knownOf(configuration)
  const isPc = architecture === null || architecture === 'x86_64'
  const drives = [...disks.values()].flatMap(({ file, format }) => [
    '-drive',
    optionText({ if: 'virtio', format, file }),
  ])
  return {
    program: `qemu-system-${architecture ?? 'x86_64'}`,
    words: ['-name', optionText({ guest: machine }), ...(isPc ? ['-machine', 'q35'] : []), ...drives],
    size: { memoryBytes: memoryBytes ?? MEMORY_GUESS_BYTES, cpus: cpuCount ?? 1 },
    remarks: ['the restore point does not have how it is started: its firmware and kinds of disks were guessed'],
  }
}

/** DATA_DAMAGED for a command line or a domain that is none. */
export const machineWords = (source: MachineSource): MachineWords => {
  if (source.domain !== null) return domainWords(source.domain, source)
  return source.command === null ? ofNothing(source) : ofCommand(source.command, source)
}
