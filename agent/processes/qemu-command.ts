// What a QEMU's command line says of its machine: name, uuid, QMP monitors, guest agent, disks, and who manages it. Pure.
import { disksOf, type CommandDisk } from './command-disks.ts'
import { givenOf, type Given } from './given-options.ts'
import { parseOptions, type Options } from './option-text.ts'

const GUEST_AGENT_PORT = 'org.qemu.guest_agent.0'

/** A monitor that speaks QMP; `path` as it was given, which may be relative. */
export interface CommandMonitor {
  readonly path: string | null
  /** Why nobody can connect to it; null where one can. */
  readonly closed: string | null
}

export type Manager = { readonly kind: 'libvirt' } | { readonly kind: 'proxmox'; readonly id: string }

export interface QemuCommand {
  /** From `-name`; null where there is none. */
  readonly name: string | null
  readonly uuid: string | null
  readonly monitors: readonly CommandMonitor[]
  /** Has a monitor for people, which says nothing to programs. */
  readonly hasHumanMonitor: boolean
  /** The path of the guest agent's socket as it was given. */
  readonly guestAgent: string | null
  readonly disks: readonly CommandDisk[]
  /** Files from which it took further options, which are not looked at. */
  readonly optionFiles: readonly string[]
  readonly manager: Manager | null
}

/** What a character device is for someone who wants to connect to its socket. */
const socketOf = (options: Options): CommandMonitor => {
  const path = options.get('path') ?? null
  const closed = (why: string): CommandMonitor => ({ path, closed: why })
  if (options.get('backend') !== 'socket') return closed(`is no socket (${options.get('backend') ?? 'unknown'})`)
  if (options.has('fd')) return closed('was handed over by the program that started it')
  if (path === null) return closed('is a network port, which anyone may connect to, and no UNIX socket')
  if (options.get('abstract') === 'on') return closed('is an abstract socket, without a file')
  if (options.get('server') !== 'on') return closed('connects to another program by itself')
  return { path, closed: null }
}

/** A character device in the short form of `-qmp`: unix:PATH,server=on,wait=off. */
const shortDevice = (text: string): Options => {
  const [, kind = text, rest = ''] = /^(\w+):(.*)$/su.exec(text) ?? []
  if (kind !== 'unix') return new Map([['backend', ['tcp', 'telnet', 'websocket'].includes(kind) ? 'socket' : kind]])
  return new Map([...parseOptions(rest, 'path'), ['backend', 'socket']])
}

const onlyOf = (given: readonly Given[], ...options: readonly string[]): readonly string[] =>
  given.filter(({ option }) => options.includes(option)).map(({ value }) => value)

const monitorsOf = (given: readonly Given[], devices: ReadonlyMap<string, Options>): CommandMonitor[] => {
  const device = (id: string): CommandMonitor => socketOf(devices.get(id) ?? new Map())
  const short = onlyOf(given, 'qmp', 'qmp-pretty').map((text) =>
    text.startsWith('chardev:') ? device(text.slice('chardev:'.length)) : socketOf(shortDevice(text)),
  )
  const long = onlyOf(given, 'mon')
    .map((text) => parseOptions(text, 'chardev'))
    .filter((options) => options.get('mode') === 'control')
    .map((options) => device(options.get('chardev') ?? ''))
  return [...short, ...long]
}

const guestAgentOf = (given: readonly Given[], devices: ReadonlyMap<string, Options>): string | null => {
  const ports = onlyOf(given, 'device').map((text) => parseOptions(text, 'driver'))
  const port = ports.find((options) => options.get('name') === GUEST_AGENT_PORT)
  const { path, closed } = socketOf(devices.get(port?.get('chardev') ?? '') ?? new Map())
  return closed === null ? path : null
}

const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/u
const NO_UUID = /^[0-]+$/u

const uuidOf = (given: readonly Given[]): string | null => {
  const board = onlyOf(given, 'smbios').map((text) => parseOptions(text))
  const texts = [...onlyOf(given, 'uuid'), ...board.map((options) => options.get('uuid') ?? '')]
  return texts.map((text) => text.toLowerCase()).find((text) => UUID.test(text) && !NO_UUID.test(text)) ?? null
}

const managerOf = (given: readonly Given[], devices: ReadonlyMap<string, Options>): Manager | null => {
  if (devices.has('charmonitor') || onlyOf(given, 'object').some((text) => text.includes('masterKey0')))
    return { kind: 'libvirt' }
  const paths = [...devices.values()].map((options) => options.get('path') ?? '')
  const id = paths.map((path) => /^(?:\/var)?\/run\/qemu-server\/(\d{1,9})\.qmp$/u.exec(path)?.[1]).find((one) => one)
  return id === undefined ? null : { kind: 'proxmox', id }
}

/** What a command line says; `args` is without the program. */
export const readCommand = (args: readonly string[]): QemuCommand => {
  const given = givenOf(args)
  const devices = new Map(
    onlyOf(given, 'chardev').map((text) => {
      const options = parseOptions(text, 'backend')
      return [options.get('id') ?? '', options] as const
    }),
  )
  const humans = onlyOf(given, 'mon').filter((text) => parseOptions(text, 'chardev').get('mode') !== 'control')
  const name = onlyOf(given, 'name').map((text) => parseOptions(text, 'guest').get('guest') ?? '')
  return {
    name: name.findLast((text) => text !== '') ?? null,
    uuid: uuidOf(given),
    monitors: monitorsOf(given, devices),
    hasHumanMonitor: humans.length > 0 || onlyOf(given, 'monitor').some((text) => text !== 'none'),
    guestAgent: guestAgentOf(given, devices),
    disks: disksOf(given),
    optionFiles: onlyOf(given, 'readconfig'),
    manager: managerOf(given, devices),
  }
}
