// What goes with each backup's point besides its disks: gathered at the instant, kept until the backup has ended.
import { missingReason } from '../../protocol/attachments.ts'
import { asVarveError } from '../../protocol/errors.ts'
import type { Log } from '../../protocol/host/log.ts'
import type { AttachmentSource } from './source.ts'
import type { Lease, LeaseDriver, Machine, MachineConfig } from '../drivers/driver.ts'
import { attachedSources } from './gather.ts'
import { AttachmentSpool, NOTHING_ATTACHED, type Attached } from './spool.ts'

export interface AttachmentsOptions {
  readonly stateFolder: string
  readonly machines: readonly MachineConfig[]
  readonly driverOf: (machine: Pick<Machine, 'driver'>) => LeaseDriver
  readonly log: Log
}

export class Attachments {
  readonly #options: AttachmentsOptions
  readonly #spool: AttachmentSpool

  constructor(options: AttachmentsOptions) {
    this.#options = options
    this.#spool = new AttachmentSpool(options.stateFolder)
  }

  /** As it is now, or as it was when the job was begun. Never rejects: a point without it is worth as much. */
  async of(job: string, name: string, lease: Lease): Promise<Attached> {
    const machine = this.#options.machines.find((one) => one.name === name)
    const disks = lease.disks.map((disk) => disk.name)
    try {
      return await this.#spool.of(job, () => this.#sources(machine), disks)
    } catch (error) {
      this.#options.log.warn({ job, machine: name, err: error }, 'what goes with the point could not be gathered')
      const reason = `the agent could not gather what goes with the point: ${asVarveError(error).message}`
      return { ...NOTHING_ATTACHED, missing: [{ name: 'attachments', reason: missingReason(reason) }] }
    }
  }

  /** Forgets what was gathered for a job. */
  async forget(job: string): Promise<void> {
    await this.#spool.remove(job).catch((error: unknown) => this.#warn(error))
  }

  /** Forgets what was gathered for any other job. */
  async forgetBut(...jobs: readonly string[]): Promise<void> {
    await this.#spool.sweep(new Set(jobs)).catch((error: unknown) => this.#warn(error))
  }

  /** Of the machine's own driver, whichever reads it now; one that was taken out of the configuration has none. */
  async #sources(machine: MachineConfig | undefined): Promise<AttachmentSource[]> {
    if (machine === undefined) return []
    const own = await this.#options.driverOf(machine).attachments(machine)
    return [...own, ...attachedSources(machine.attach)]
  }

  #warn(error: unknown): void {
    this.#options.log.warn({ err: error }, 'gathered attachments could not be removed')
  }
}
