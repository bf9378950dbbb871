// What was found on a host, as machines: which can be backed up with which keys, which are known, and what others need. Pure.
import path from 'node:path'
import * as v from 'valibot'
import { MACHINES_MAX } from '../../protocol/limits.ts'
import { socketPath } from '../socket-path.ts'
import type { MachineConfig } from '../drivers/driver.ts'
import { URI_DEFAULT } from '../libvirt/uri-schema.ts'
import type { CommandDisk } from '../processes/command-disks.ts'
import { isDomain } from './followed.ts'
import type { FoundMonitor, FoundQemu, FoundSocket, SocketState } from './host-qemus.ts'
import { fitName, Names } from './names.ts'

/**
 * `new`: to be pasted. `configured`: the configuration has it. `followed`: `[discover]` takes it up. `unusable`: not before
 * its notes are followed.
 */
export type Standing = 'new' | 'configured' | 'followed' | 'unusable'

export interface FoundMachine {
  /** Fit for the configuration, and no other's. */
  readonly name: string
  readonly standing: Standing
  readonly driver: 'qmp' | 'libvirt'
  /** Keys of its `[[machine]]` besides `name`; of an unusable one, those that it would have. */
  readonly keys: Readonly<Record<string, string>>
  /** What it is, in a few words. */
  readonly origin: string
  readonly uuid: string | null
  /** Its process; null for one that is off, and for a libvirt domain. */
  readonly pid: number | null
  readonly running: boolean
  readonly disks: readonly CommandDisk[]
  /** What a person must know or decide, each a sentence. */
  readonly notes: readonly string[]
}

export interface FoundDomain {
  readonly name: string
  readonly uuid: string
  readonly running: boolean
  /** It is gone once it is off. */
  readonly transient: boolean
}

/** The domains of one libvirt. */
export interface FoundDomains {
  readonly uri: string
  readonly domains: readonly FoundDomain[]
}

export interface Known {
  /** Machines of the configuration, with those that `[discover]` takes up. */
  readonly machines: readonly MachineConfig[]
  /** Names of those that `[discover]` takes up. */
  readonly followed: ReadonlySet<string>
}

export interface Found {
  readonly qemus: readonly FoundQemu[]
  readonly libvirt: readonly FoundDomains[]
}

const extraMonitor = (file: string): string => `-qmp unix:${file},server=on,wait=off`

/** What to do about a monitor that cannot be used. */
const OBSTACLES: Readonly<Record<Exclude<SocketState, 'free' | 'forbidden'>, string>> = {
  held: 'another program is connected to its monitor, and QEMU serves one client on each',
  absent: 'nothing can be reached at the path of its monitor: the path is relative, or its file was removed',
  elsewhere: 'its monitor is in a container or another root folder, where this path leads elsewhere',
  unknown: 'where its monitor is cannot be seen by this user: run this as root',
}

const FORBIDDEN = 'this user may not connect to its monitor: the agent must run as one that may, such as root'

/** Why none of the monitors can be used, and what to do. */
const obstacleOf = (qemu: FoundQemu, monitors: readonly FoundMonitor[], name: string): string[] => {
  const wayOut = `start it with a monitor for Varve alone: ${extraMonitor(`/run/varve/${name}.qmp`)}`
  const [first] = monitors
  if (qemu.manager?.kind === 'proxmox') {
    const { id } = qemu.manager
    const args = extraMonitor(`/run/varve/${id}.qmp`)
    return [
      `Proxmox VE's guest ${id}: Proxmox VE uses its monitor itself, so it needs a second one`,
      `create the folder /run/varve, then: qm set ${id} --args "${args}" (with any other args that it has), then stop and start the guest`,
      'let no backup of Proxmox VE run on it at the same time',
    ]
  }
  if (first === undefined)
    return [
      qemu.hasHumanMonitor
        ? `it has a monitor for people only, which says nothing to programs; ${wayOut}`
        : `it has no QMP monitor; ${wayOut}`,
    ]
  if (first.closed !== null) return [`its QMP monitor ${first.closed}; ${wayOut}`]
  if (first.state === 'free' || first.state === 'forbidden')
    return [`the path of its monitor is not fit for the configuration; ${wayOut}`]
  return [`${OBSTACLES[first.state]}${first.state === 'unknown' ? '' : `; ${wayOut}`}`]
}

const isFit = (file: string): boolean => v.is(socketPath, file) && !file.includes('\uFFFD')

const usableOf = (monitors: readonly FoundMonitor[]): FoundMonitor | undefined => {
  const open = monitors.filter(({ closed, path: file }) => closed === null && isFit(file))
  return open.find(({ state }) => state === 'free') ?? open.find(({ state }) => state === 'forbidden')
}

/** What Proxmox VE's own tools use is not for others. */
const othersOf = ({ manager, monitors }: FoundQemu): readonly FoundMonitor[] =>
  manager?.kind === 'proxmox'
    ? monitors.filter(({ path: file }) => !/\/(?:qemu-server\/|qmeventd\.sock$)/u.test(file))
    : monitors

/** A name where QEMU was given none: that of its monitor's file, without what such files end with. */
const namelessOf = (monitors: readonly FoundMonitor[]): string => {
  const base = path.parse(monitors.find(({ closed }) => closed === null)?.path ?? '').name
  return ['', 'qmp', 'monitor', 'qemu', 'mon', 'sock'].includes(base) ? 'machine' : base
}

const nameNotes = (own: string | null, name: string): string[] => {
  if (own === null) return ['it has no name: choose one, which its restore points keep']
  if (own === name) return []
  const reason = fitName(own) === name ? 'is not allowed' : 'is that of another machine'
  return [`its own name, ${JSON.stringify(own)}, ${reason}: choose one, which its restore points keep`]
}

/** Gives out machines until the configuration would be full. */
class Maker {
  readonly #names: Names
  readonly #known: Known
  readonly #addresses: Set<string>
  #left: number

  constructor(known: Known) {
    this.#known = known
    this.#names = new Names(known.machines.map(({ name }) => name))
    this.#addresses = new Set()
    this.#left = MACHINES_MAX - known.machines.length
  }

  /** The machine of the configuration of which this holds. */
  known(isIt: (machine: MachineConfig) => boolean): { name: string; standing: Standing } | null {
    const machine = this.#known.machines.find(isIt)
    if (machine === undefined) return null
    return { name: machine.name, standing: this.#known.followed.has(machine.name) ? 'followed' : 'configured' }
  }

  /** A machine that is new or unusable. */
  make(machine: Omit<FoundMachine, 'name'>, own: string | null, suggested: string): FoundMachine {
    const name = this.#names.take(suggested)
    const notes = [...nameNotes(own, name), ...machine.notes]
    const { qmp, domain, uri } = machine.keys
    const address = qmp === undefined ? `${uri ?? ''} ${domain}` : path.normalize(qmp)
    if (machine.standing !== 'new') return { ...machine, name, notes }
    if (this.#addresses.has(address))
      return { ...machine, name, standing: 'unusable', notes: [...notes, 'another machine has the same address'] }
    this.#addresses.add(address)
    if (this.#left-- > 0) return { ...machine, name, notes }
    const sentence = `an agent takes ${MACHINES_MAX} machines at most`
    return { ...machine, name, standing: 'unusable', notes: [...notes, sentence] }
  }
}

const guestNote = ({ path: file, state }: FoundSocket): string =>
  `its guest agent's socket ${file} cannot be used now (${state}), so its guest would not be frozen`

const originOf = ({ pid, uid, manager }: FoundQemu): string => {
  const whose = uid === null ? '' : ` of user ${uid}`
  const managed = manager === null ? '' : `, managed by ${manager.kind === 'libvirt' ? 'libvirt' : 'Proxmox VE'}`
  return `QEMU process ${pid}${whose}${managed}`
}

/** One QEMU as a machine that has no name of its own yet. */
interface Candidate {
  readonly machine: Omit<FoundMachine, 'name'>
  /** The name that QEMU was given, and what to make a name of. */
  readonly own: string | null
  readonly suggested: string
}

const candidateOf = (qemu: FoundQemu): Candidate => {
  const { name: own, uuid, pid, manager, guestAgent, disks } = qemu
  const common = { driver: 'qmp' as const, origin: originOf(qemu), uuid, pid, running: true, disks }
  const monitors = othersOf(qemu)
  const suggested = own ?? namelessOf(monitors)
  const unusable = (notes: readonly string[]): Candidate => {
    return { machine: { ...common, standing: 'unusable', keys: {}, notes }, own, suggested }
  }
  if (manager?.kind === 'libvirt')
    return unusable(['it is managed by libvirt, which did not list it: run this as root, or with --uri of its libvirt'])
  const monitor = usableOf(monitors)
  const files = qemu.optionFiles.map((file) => `it has further options in ${file}, which were not looked at`)
  if (monitor === undefined) return unusable([...files, ...obstacleOf(qemu, monitors, fitName(suggested))])
  const hasGuest = guestAgent !== null && isFit(guestAgent.path) && ['free', 'forbidden'].includes(guestAgent.state)
  const notes = [
    ...files,
    ...(monitor.state === 'forbidden' ? [FORBIDDEN] : []),
    ...(guestAgent === null || hasGuest ? [] : [guestNote(guestAgent)]),
  ]
  const keys = { qmp: monitor.path, ...(hasGuest ? { guest_agent: guestAgent.path } : {}) }
  return { machine: { ...common, standing: 'new', keys, notes }, own, suggested }
}

const fromQemu = (qemu: FoundQemu, { machine, own, suggested }: Candidate, maker: Maker): FoundMachine => {
  const known = maker.known(
    ({ driver, keys }) =>
      driver === 'qmp' &&
      qemu.monitors.some(
        ({ path: file, state }) => state !== 'elsewhere' && file === path.normalize(String(keys['qmp'])),
      ),
  )
  return known === null ? maker.make(machine, own, suggested) : { ...machine, ...known, keys: {}, notes: [] }
}

const fromDomain = (domain: FoundDomain, { uri }: FoundDomains, maker: Maker): FoundMachine => {
  const { name: own, uuid, running, transient } = domain
  const common = { driver: 'libvirt' as const, origin: `libvirt domain at ${uri}`, uuid, pid: null, running, disks: [] }
  const known = maker.known((machine) => isDomain(machine, uri, domain))
  if (known !== null) return { ...common, ...known, keys: {}, notes: [] }
  const keys = { domain: own, ...(uri === URI_DEFAULT ? {} : { uri }) }
  const notes = transient ? ['it is transient: libvirt forgets it once it is off'] : []
  return maker.make({ ...common, standing: 'new', keys, notes }, own, own)
}

const rank = ({ machine }: Candidate): number => (machine.standing === 'new' ? 0 : 1)

/** Everything that was found, by name; a QEMU that libvirt lists is that domain and nothing else. */
export const machinesOf = ({ qemus, libvirt }: Found, known: Known): readonly FoundMachine[] => {
  const maker = new Maker(known)
  const domains = libvirt.flatMap((from) => from.domains.map((domain) => fromDomain(domain, from, maker)))
  const uuids = new Set(domains.map(({ uuid }) => uuid))
  const others = qemus.filter(({ manager, uuid }) => manager?.kind !== 'libvirt' || uuid === null || !uuids.has(uuid))
  // those that can be pasted have the first choice of names
  const rest = others
    .map((qemu) => ({ qemu, candidate: candidateOf(qemu) }))
    .toSorted((a, b) => rank(a.candidate) - rank(b.candidate) || a.qemu.pid - b.qemu.pid)
    .map(({ qemu, candidate }) => fromQemu(qemu, candidate, maker))
  return [...domains, ...rest].toSorted((a, b) => (a.name < b.name ? -1 : 1))
}
