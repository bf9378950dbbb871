// The agent's configuration: one TOML file, checked whole, with every default here.
import { readFile } from 'node:fs/promises'
import { isIP } from 'node:net'
import path from 'node:path'
import { parse } from 'smol-toml'
import * as v from 'valibot'
import { VarveError } from '../protocol/errors.ts'
import { MACHINES_MAX } from '../protocol/limits.ts'
import { diskName, name } from '../protocol/schemas.ts'
import { tomlProblem } from '../protocol/toml-problem.ts'

export const CONFIG_DEFAULT = '/etc/varve/agent.toml'
export const STATE_DEFAULT = '/var/lib/varve-agent'

/** QMP commands the gateway may relay unless `relay` says otherwise: they look and change nothing. */
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

const UNIT_BYTES: Readonly<Record<string, number>> = { KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30 }

/** Bytes of a text such as `50 MiB`. */
const byteSize = v.pipe(
  v.string(),
  v.regex(/^\d{1,6} ?(?:KiB|MiB|GiB)$/u, 'a size such as "50 MiB"'),
  v.transform((text) => Number.parseInt(text, 10) * UNIT_BYTES[text.slice(-3)]!),
  v.minValue(1024, 'a size of at least 1 KiB'),
)

const GATEWAY_PATTERN = /^wss?:\/\/[^/?#]+\/?$/u
const GATEWAY_SENTENCE = 'an address such as "wss://backup.example:8470"'

const absolute = v.pipe(v.string(), v.startsWith('/', 'an absolute path'))

const machineSchema = v.strictObject({
  name,
  qmp: absolute,
  guest_agent: v.optional(absolute),
  exclude: v.optional(v.pipe(v.array(diskName), v.maxLength(256)), []),
})

const fileSchema = v.strictObject({
  gateway: v.pipe(v.string(), v.regex(GATEWAY_PATTERN, GATEWAY_SENTENCE)),
  ca: v.optional(absolute),
  state: v.optional(absolute, STATE_DEFAULT),
  insecure: v.optional(v.boolean(), false),
  /** Bytes a second that uploads may take together. */
  bandwidth: v.optional(byteSize),
  /** A backup is given up when the scratch space's file system has less left than this. */
  scratch_reserve: v.optional(byteSize),
  /** Longest freeze of a guest, in seconds. */
  freeze_limit: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(60)), 10),
  relay: v.optional(v.pipe(v.array(v.pipe(v.string(), v.maxLength(128))), v.maxLength(256)), [...RELAY_DEFAULT]),
  log_level: v.optional(v.picklist(['trace', 'debug', 'info', 'warn', 'error', 'silent']), 'info'),
  machine: v.optional(v.pipe(v.array(machineSchema), v.maxLength(MACHINES_MAX)), []),
})

type File = v.InferOutput<typeof fileSchema>

export interface MachineConfig {
  readonly name: string
  readonly qmp: string
  readonly guestAgent: string | null
  readonly exclude: readonly string[]
}

export interface AgentConfig extends Omit<File, 'machine'> {
  readonly machines: readonly MachineConfig[]
}

const invalid = (file: string, what: string): VarveError => new VarveError('CONFIG_INVALID', `${file}: ${what}`)

const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '[::1]' || (isIP(host) === 4 && host.startsWith('127.'))

/** CONFIG_INVALID unless it is a WebSocket's address that is encrypted or loopback, or `insecure` was said. */
export const checkGateway = (file: string, gateway: string, insecure: boolean): void => {
  if (!GATEWAY_PATTERN.test(gateway) || !URL.canParse(gateway)) throw invalid(file, `gateway: ${GATEWAY_SENTENCE}`)
  const { protocol, hostname } = new URL(gateway)
  if (protocol === 'ws:' && !isLoopback(hostname) && !insecure)
    throw invalid(file, `${gateway} is not encrypted; use wss://, or set insecure = true to send data in the clear`)
}

const twice = (values: readonly string[]): string | undefined =>
  values.find((value, index) => values.indexOf(value) !== index)

/** The configuration in a TOML text; CONFIG_INVALID names the file and the key. */
export const parseConfig = (file: string, text: string): AgentConfig => {
  let value: unknown
  try {
    value = parse(text)
  } catch (error) {
    throw invalid(file, tomlProblem(error as Error))
  }
  const checked = v.safeParse(fileSchema, value)
  if (!checked.success) {
    const issue = checked.issues[0]
    throw invalid(file, `${v.getDotPath(issue) ?? 'file'}: ${issue.message}`)
  }
  const { machine, ...rest } = checked.output
  checkGateway(file, rest.gateway, rest.insecure)
  const name = twice(machine.map((one) => one.name)) ?? twice(machine.map((one) => path.normalize(one.qmp)))
  if (name !== undefined) throw invalid(file, `"${name}" stands twice among the machines`)
  const machines = machine.map(({ guest_agent: guestAgent, ...one }) => ({ ...one, guestAgent: guestAgent ?? null }))
  return { ...rest, machines }
}

/** Reads a configuration file; CONFIG_INVALID. */
export const readConfig = async (file: string): Promise<AgentConfig> => {
  try {
    return parseConfig(file, await readFile(file, 'utf8'))
  } catch (error) {
    if (error instanceof VarveError) throw error
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT'
    throw invalid(
      file,
      missing ? 'there is no such file; "varve-agent --help" shows an example' : (error as Error).message,
    )
  }
}
