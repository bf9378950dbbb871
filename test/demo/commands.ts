// Varve's public commands as the demonstration uses them, each a program of its own, as a person would run it.
import path from 'node:path'
import * as v from 'valibot'
import { run } from '../rig/run.ts'

const root = path.resolve(import.meta.dirname, '../..')
export const gatewayProgram = path.join(root, 'gateway/main.ts')

/** Options of Node that the gateway is started with, as in gateway/varve-gateway. */
export const GATEWAY_NODE = ['--max-semi-space-size=8'] as const

/** The same of the agent, as in agent/varve-agent. */
export const AGENT_NODE = ['--max-semi-space-size=2'] as const
export const agentProgram = path.join(root, 'agent/main.ts')

const kind = v.picklist(['full', 'incremental'])

const pointSchema = v.object({
  id: v.string(),
  machine: v.string(),
  time: v.string(),
  kind,
  reason: v.string(),
  consistency: v.string(),
  bytesRead: v.number(),
  bytesSent: v.number(),
  bytesStored: v.number(),
  durationMs: v.number(),
  disks: v.array(v.object({ name: v.string(), size: v.number(), changedBytes: v.number() })),
  attachments: v.array(v.object({ name: v.string(), size: v.number() })),
})
export type PointRow = v.InferOutput<typeof pointSchema>

const machinesSchema = v.object({ machines: v.array(v.object({ online: v.boolean() })) })

const backupSchema = v.object({ point: pointSchema })

/** The restore point of a backup, with its id as `point`. */
export type BackupResult = PointRow & { readonly point: string; readonly seconds: number }

const lastLine = (text: string): string => text.trimEnd().split('\n').at(-1) ?? ''

/** The commands of one gateway data directory and one agent configuration. */
export class Commands {
  readonly #data: string
  readonly #config: string
  readonly #signal: AbortSignal

  /** Commands that run end when `signal` is aborted. */
  constructor(data: string, config: string, signal: AbortSignal) {
    this.#data = data
    this.#config = config
    this.#signal = signal
  }

  async addTenant(name: string): Promise<void> {
    await this.#gateway('tenant', 'add', name, '--no-plan')
  }

  /** From now on the gateway backs the tenant's machines up by itself, once an hour. */
  async planHourly(tenant: string): Promise<void> {
    await this.#gateway(
      'plan',
      'set',
      'hourly',
      '--tenant',
      tenant,
      '--rpo',
      '1h',
      '--keep-last',
      '24',
      '--cover-others',
    )
  }

  /** A link that opens the console signed in as the tenant's owner. */
  async consoleLink(tenant: string): Promise<string> {
    return (await this.#gateway('login', '--tenant', tenant, '--role', 'owner', '--subject', 'demo')).trim()
  }

  /** A one-time enrolment token. */
  async enrolmentToken(tenant: string): Promise<string> {
    return (await this.#gateway('enrol', '--tenant', tenant)).trim()
  }

  async enrol(gateway: string, token: string): Promise<void> {
    await this.#agent('enrol', '--gateway', gateway, '--token', token)
  }

  /** True once the running agent has announced its machines to the gateway. */
  async agentAnswers(): Promise<boolean> {
    const listed = await this.#agent('machines', '--json').catch(() => null)
    return listed !== null && v.parse(machinesSchema, JSON.parse(listed)).machines.some(({ online }) => online)
  }

  async backup(machine: string): Promise<BackupResult> {
    const output = await this.#agent('backup', machine, '--wait', '--json')
    const { point } = v.parse(backupSchema, JSON.parse(lastLine(output)))
    return { ...point, point: point.id, seconds: point.durationMs / 1000 }
  }

  /** The machine's restore points, newest first. */
  async points(machine: string): Promise<PointRow[]> {
    const output = await this.#agent('points', machine, '--json')
    return v.parse(v.object({ points: v.array(pointSchema) }), JSON.parse(output)).points
  }

  async restore(point: string, disk: string, target: string, format: 'raw' | 'qcow2' = 'raw'): Promise<void> {
    await this.#agent('restore', point, '--disk', disk, '--to', target, '--format', format)
  }

  async restoreAttachment(point: string, attachment: string, target: string): Promise<void> {
    await this.#agent('restore', point, '--attachment', attachment, '--to', target)
  }

  #gateway(...args: string[]): Promise<string> {
    return this.#run('gateway', [gatewayProgram, ...args, '--data', this.#data])
  }

  #agent(...args: string[]): Promise<string> {
    return this.#run('agent', [agentProgram, ...args, '--config', this.#config])
  }

  #run(name: string, args: readonly string[]): Promise<string> {
    return run(process.execPath, args, { signal: this.#signal, label: `varve-${name} ${args[1]}` })
  }
}
