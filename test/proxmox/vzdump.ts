// A backup job of Proxmox VE without Proxmox VE: the plug-ins run in Perl as it runs them, with QEMU driven as qemu-server does.
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync } from 'node:fs'
import { chmod, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { createInterface } from 'node:readline'
import type { AccessOptions, BitmapMode, LeaseHolder } from '../support/lease-holder.ts'
import type { ModelMachine } from '../support/model-machine.ts'

const ROOT = path.resolve(import.meta.dirname, '../..')
const LIBRARIES = [path.join(ROOT, 'agent/proxmox'), path.join(import.meta.dirname, 'perl')]

/** The storage, as storage.cfg has it. */
export const SCFG = { type: 'varve', 'varve-prefix': 'vm-' } as const

interface Answer {
  readonly result?: unknown
  readonly error?: string
  readonly logged: readonly string[]
}

export interface Job {
  readonly vmid: number
  readonly machine: ModelMachine
  readonly holder: LeaseHolder
  readonly config: string
  readonly firewall?: string
  readonly bandwidth?: number
  /** What is done between the instant and the reading. */
  readonly meanwhile?: () => Promise<void>
  readonly access?: Partial<AccessOptions>
  /** Changes what is told to the plug-in of the volumes. */
  readonly lie?: (volumes: Record<string, Record<string, unknown>>) => void
  /** Told once the plug-in is at work. */
  readonly onBackup?: () => Promise<void>
}

export interface JobOutcome {
  readonly archive: string | null
  readonly error: string | null
  /** What the plug-in asked for, and what QEMU then did, of each disk. */
  readonly modes: Readonly<Record<string, string>>
}

export class Vzdump implements AsyncDisposable {
  readonly log: string[] = []
  /** What only root may say. */
  readonly settingsFile: string
  readonly #settings: Readonly<Record<string, string>>
  readonly #child: ChildProcess
  readonly #lines: AsyncIterator<string>
  #startTime = 0

  private constructor(child: ChildProcess, settingsFile: string, settings: Readonly<Record<string, string>>) {
    this.#child = child
    this.settingsFile = settingsFile
    this.#settings = settings
    this.#lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]()
  }

  static async start(folder: string, agentConfig: string): Promise<Vzdump> {
    const program = path.join(folder, 'varve-agent')
    await writeFile(program, `#!/bin/sh\nexec '${process.execPath}' '${path.join(ROOT, 'agent/main.ts')}' "$@"\n`)
    await chmod(program, 0o755)
    const manager = path.join(folder, 'varve-gateway')
    await writeFile(manager, `#!/bin/sh\nexec '${process.execPath}' '${path.join(ROOT, 'gateway/main.ts')}' "$@"\n`)
    await chmod(manager, 0o755)
    const settings = { config: agentConfig, program, scratch: folder, gatewayProgram: manager }
    const file = path.join(folder, 'proxmox.json')
    await writeFile(file, JSON.stringify(settings), { mode: 0o600 })
    const args = [...LIBRARIES.map((library) => `-I${library}`), path.join(import.meta.dirname, 'calls.pl')]
    const env = { ...process.env, VARVE_SCFG: JSON.stringify(SCFG), VARVE_SETTINGS: file }
    return new Vzdump(spawn('perl', args, { env, stdio: ['pipe', 'pipe', 'inherit'] }), file, settings)
  }

  /** Says more in the settings of root. */
  async set(more: Readonly<Record<string, string>>): Promise<void> {
    await writeFile(this.settingsFile, JSON.stringify({ ...this.#settings, ...more }))
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  async call(
    on: 'storage' | 'provider',
    method: string,
    args: readonly unknown[] = [],
    list = false,
  ): Promise<unknown> {
    this.#child.stdin!.write(`${JSON.stringify({ on, method, args, list })}\n`)
    const { value, done } = await this.#lines.next()
    if (done === true) throw new Error(`perl ended in ${method}`)
    const { result, error, logged } = JSON.parse(value) as Answer
    this.log.push(...logged.map((line) => `  ${line}`))
    this.log.push(`${on}->${method}${error === undefined ? '' : `: ${error.trim()}`}`)
    if (error !== undefined) throw new Error(error.trim())
    return result
  }

  provider(method: string, ...args: readonly unknown[]): Promise<unknown> {
    return this.call('provider', method, args)
  }

  storage(method: string, ...args: readonly unknown[]): Promise<unknown> {
    return this.call('storage', method, args)
  }

  /** One guest's backup from job_init to job_cleanup, in the order and with the ends that qemu-server and vzdump have. */
  async run(job: Job): Promise<JobOutcome> {
    const { vmid } = job
    // archives are told apart by their second
    this.#startTime = Math.max(Math.floor(Date.now() / 1000), this.#startTime + 1)
    const modes: Record<string, string> = {}
    let archive: string | null = null
    let error: string | null = null
    try {
      await this.provider('job_init', this.#startTime)
      const begun = (await this.provider('backup_init', vmid, 'qemu', this.#startTime)) as { 'archive-name': string }
      archive = begun['archive-name']
      await this.#archive(job, modes)
    } catch (thrown) {
      error = (thrown as Error).message
    }
    const info = error === null ? {} : { error }
    await this.provider('backup_cleanup', vmid, 'qemu', error === null ? 1 : 0, info)
    await this.provider('job_cleanup')
    this.log.push(error === null ? `guest ${vmid}: ${archive}` : `guest ${vmid} failed: ${error}`)
    return { archive, error, modes }
  }

  async #archive(job: Job, modes: Record<string, string>): Promise<void> {
    const { vmid, machine, holder, config, firewall, bandwidth } = job
    await this.provider('backup_get_mechanism', vmid, 'qemu')
    const devices = Object.fromEntries(machine.disks.map(({ id, size }) => [id, { size }]))
    const asked = ((await this.provider('backup_vm_query_incremental', vmid, devices)) ?? {}) as Record<
      string,
      BitmapMode
    >
    const volumes = await holder.setup({ modes: asked, ...job.access })
    let success = false
    try {
      for (const [id, volume] of Object.entries(volumes)) modes[id] = `${asked[id] ?? 'none'} ${volume['bitmap-mode']}`
      this.log.push(`  bitmaps: ${JSON.stringify(modes)}`)
      await job.meanwhile?.()
      const told = structuredClone(volumes) as unknown as Record<string, Record<string, unknown>>
      job.lie?.(told)
      const info = {
        ...(bandwidth === undefined ? {} : { 'bandwidth-limit': bandwidth }),
        ...(firewall === undefined ? {} : { 'firewall-config': firewall }),
      }
      const backing = this.provider('backup_vm', vmid, config, told, info)
      await Promise.all([backing, job.onBackup?.()])
      success = true
    } finally {
      await holder.teardown(success)
      this.log.push(`  backup-access-teardown: success ${success}`)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.stdin!.end()
    if (this.#child.exitCode === null) await once(this.#child, 'exit')
  }
}

/** Appends the log to the file that VARVE_PROXMOX_LOG names. */
export const told = ({ log }: Vzdump): void => {
  const file = process.env['VARVE_PROXMOX_LOG']
  if (file !== undefined) appendFileSync(file, `${log.join('\n')}\n`)
}
