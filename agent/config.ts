// The agent's configuration: one TOML file, checked as a whole, with all its defaults.
import { createReadStream } from 'node:fs'
import * as v from 'valibot'
import { VarveError } from '../protocol/errors.ts'
import { MACHINES_MAX } from '../protocol/limits.ts'
import { diskName, name } from '../protocol/schemas.ts'
import { parseToml } from '../protocol/host/toml-file.ts'
import { addressFault } from '../protocol/host/gateway-address.ts'
import { fileError } from '../protocol/host/file-error.ts'
import { discoverSchema } from './discover/settings.ts'
import type { MachineConfig } from './drivers/driver.ts'
import { DRIVER_NAMES, kindOf } from './drivers/registry.ts'
import { FREEZE_ONLY_MAX } from './guest/freeze-messages.ts'
import { hooksSchema } from './hooks/settings.ts'
import { RESTORE_NOWHERE, restoreSchema } from './restore/allowed.ts'
import { absolutePath } from './socket-path.ts'

export const CONFIG_DEFAULT = '/etc/varve/agent.toml'
export const STATE_DEFAULT = '/var/lib/varve-agent'

/** QMP commands the gateway may relay unless `relay` says otherwise: read-only ones. */
export const RELAY_DEFAULT = [
  'query-status',
  'query-version',
  'query-name',
  'query-uuid',
  'query-block',
  'query-blockstats',
  'query-block-jobs',
  'query-jobs',
  'query-block-exports',
  'query-named-block-nodes',
  'query-cpus-fast',
  'query-memory-size-summary',
] as const

/** Largest configuration that is read, in bytes: over a thousand machines fit. */
const CONFIG_BYTES_MAX = 1024 * 1024

const UNIT_BYTES: Readonly<Record<string, number>> = { KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30 }

/** Bytes of a text such as `50 MiB`. */
const byteSize = v.pipe(
  v.string(),
  v.regex(/^\d{1,6} ?(?:KiB|MiB|GiB)$/u, 'a size such as "50 MiB"'),
  v.transform((text) => Number.parseInt(text, 10) * UNIT_BYTES[text.slice(-3)]!),
  v.minValue(1024, 'a size of at least 1 KiB'),
)

/** Host and port of a loopback address such as `127.0.0.1:9471`. */
const loopbackAddress = v.pipe(
  v.string(),
  v.regex(/^(?:127(?:\.\d{1,3}){3}|\[::1\]|localhost):\d{1,5}$/u, 'a loopback address such as "127.0.0.1:9471"'),
  v.transform((text) => {
    const [, host = '', port = ''] = /^(.*):(\d+)$/u.exec(text) ?? []
    return { host: host.replace(/^\[|\]$/gu, ''), port: Number(port) }
  }),
  v.check(({ port }) => port <= 65_535, 'a port is at most 65535'),
)

/** Most files and folders that a machine's configuration attaches. */
const ATTACH_PATHS_MAX = 64

/** A mount point in a guest, such as `/srv` or `D:\\`. */
const mountPoint = v.pipe(v.string(), v.minLength(1), v.maxLength(4096))

/** A machine, with the keys of its own driver and no others. */
const machineSchema = v.lazy((input) => {
  const kind = kindOf(input)
  return v.pipe(
    v.strictObject({
      name,
      driver: v.optional(v.picklist(DRIVER_NAMES)),
      exclude: v.optional(v.pipe(v.array(diskName), v.maxLength(256)), []),
      attach: v.optional(v.pipe(v.array(absolutePath), v.maxLength(ATTACH_PATHS_MAX)), []),
      freeze_only: v.optional(v.pipe(v.array(mountPoint), v.minLength(1), v.maxLength(FREEZE_ONLY_MAX))),
      hooks: v.optional(hooksSchema),
      ...kind.keys,
    }),
    v.rawCheck(({ dataset, addIssue }) => {
      if (!dataset.typed || dataset.issues !== undefined) return
      const fault = kind.faultOf?.(dataset.value) ?? null
      if (fault === null) return
      const { key, message } = fault
      const value = (dataset.value as Readonly<Record<string, unknown>>)[key]
      addIssue({ message, input: value, path: [{ type: 'object', origin: 'value', input: dataset.value, key, value }] })
    }),
    v.transform(({ name: own, driver: _, exclude, attach, freeze_only, hooks, ...keys }): MachineConfig => ({
      name: own,
      driver: kind.name,
      address: kind.addressOf(keys),
      keys,
      exclude,
      attach,
      ...(freeze_only === undefined ? {} : { freezeOnly: freeze_only }),
      ...(hooks === undefined ? {} : { hooks }),
    })),
  )
})

/** The machine of a `[[machine]]`; null for one that is none. */
export const machineFrom = (table: unknown): MachineConfig | null => {
  const checked = v.safeParse(machineSchema, table)
  return checked.success ? checked.output : null
}

/** Longest path of the state folder, in bytes: those of what lies in there must stay below the system's 4,095. */
const STATE_PATH_BYTES_MAX = 1024

const fileSchema = v.strictObject({
  gateway: v.pipe(v.string(), v.trim()),
  ca: v.optional(absolutePath),
  state: v.optional(
    v.pipe(absolutePath, v.maxBytes(STATE_PATH_BYTES_MAX, `a path of at most ${STATE_PATH_BYTES_MAX} bytes`)),
    STATE_DEFAULT,
  ),
  insecure: v.optional(v.boolean(), false),
  /** Bytes a second that uploads may take together. */
  bandwidth: v.optional(byteSize),
  /** A backup is given up when the scratch space's file system has less left than this. */
  scratch_reserve: v.optional(byteSize, '256 MiB'),
  /** Longest freeze of a guest, in seconds. */
  freeze_limit: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(60)), 10),
  relay: v.optional(v.pipe(v.array(v.pipe(v.string(), v.maxLength(128))), v.maxLength(256)), [...RELAY_DEFAULT]),
  log_level: v.optional(v.picklist(['trace', 'debug', 'info', 'warn', 'error', 'silent']), 'info'),
  /** A loopback address where metrics are served. */
  metrics_listen: v.optional(loopbackAddress),
  /** A libvirt whose domains are taken up by themselves. */
  discover: v.optional(discoverSchema),
  /** Where the gateway may have restores written; nowhere unless it is said. */
  restore: v.optional(restoreSchema, RESTORE_NOWHERE),
  machine: v.optional(v.pipe(v.array(machineSchema), v.maxLength(MACHINES_MAX)), []),
})

type File = v.InferOutput<typeof fileSchema>

export interface AgentConfig extends Omit<File, 'machine'> {
  readonly machines: readonly MachineConfig[]
}

const invalid = (file: string, what: string): VarveError => new VarveError('CONFIG_INVALID', `${file}: ${what}`)

/** CONFIG_INVALID unless it is a WebSocket's address that is encrypted, loopback, or `insecure`; `where` begins the message. */
export const checkGateway = (where: string, gateway: string, insecure: boolean): void => {
  const fault = addressFault(gateway, insecure)
  if (fault !== null) throw invalid(where, fault)
}

const twice = (values: readonly string[]): string | undefined =>
  values.find((value, index) => values.indexOf(value) !== index)

/** The configuration in a TOML text; CONFIG_INVALID names the file and the key. */
export const parseConfig = (file: string, text: string): AgentConfig => {
  const { machine, ...rest } = parseToml(file, text, fileSchema)
  checkGateway(`${file}: gateway`, rest.gateway, rest.insecure)
  const name = twice(machine.map((one) => one.name)) ?? twice(machine.map((one) => one.address))
  if (name !== undefined) throw invalid(file, `"${name}" is listed twice`)
  return { ...rest, machines: machine }
}

/** The text of a file, or of a pipe, up to CONFIG_BYTES_MAX; CONFIG_INVALID. */
const readText = async (file: string): Promise<string> => {
  const parts: Buffer[] = []
  let bytes = 0
  for await (const part of createReadStream(file) as AsyncIterable<Buffer>) {
    parts.push(part)
    bytes += part.length
    if (bytes > CONFIG_BYTES_MAX)
      throw invalid(file, `is larger than ${CONFIG_BYTES_MAX / 1024} KiB; is it a configuration?`)
  }
  try {
    // which also removes a byte order mark
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(parts))
  } catch {
    throw invalid(file, 'is not text in UTF-8')
  }
}

/** Reads a configuration file; CONFIG_INVALID. */
export const readConfig = async (file: string): Promise<AgentConfig> => {
  if (file === '')
    throw new VarveError('CONFIG_INVALID', 'the configuration has no name: --config takes the path of a file')
  try {
    return parseConfig(file, await readText(file))
  } catch (error) {
    if (error instanceof VarveError) throw error
    if ((error as NodeJS.ErrnoException).code === 'ENOENT')
      throw invalid(file, 'there is no such file; "varve-agent --help" shows an example')
    throw fileError(`the configuration ${file}`, error)
  }
}
