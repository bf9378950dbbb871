// A lease that the qmp driver began or adopted: watches its own objects until it ends.

import type { VarveError } from '../../../protocol/errors.ts'
import { pause } from '../../../protocol/host/within.ts'
import type { ScratchUse } from '../../../protocol/schemas.ts'
import type { QmpCaller } from '../../qmp/client.ts'
import type { PushServer } from '../../push/server.ts'
import type { QmpEvent } from '../../qmp/message.ts'
import { CopyingLease, type CopyingLeaseParts } from '../copying-lease.ts'
import type { LeasedDisk, LeaseOutcome } from '../driver.ts'
import { writeEntry, type JournalDisk, type QmpEntry } from './entry.ts'
import { finishLease } from './finish.ts'
import { isGone } from './gone.ts'
import { clearTheWay, gaveWay, watchMove } from './give-way.ts'
import type { QmpHost } from './host.ts'
import { brokenBy, findBroken } from './broken-snapshot.ts'
import { breakingEvent, findBreak, readInventory } from './inventory.ts'
import { qmpPathOf } from './keys.ts'
import { pushOrder } from './push-begin.ts'
import { PushSide } from './push-side.ts'
import { giveUpJobs, rescuedOf } from './rescue.ts'
import { findMove, underWay } from './run-state.ts'

/** How long a lease waits for a broken QMP connection to come back, in milliseconds. */
export const LEASE_RECONNECT_LIMIT_MS = 15_000

/** How often the size of scratch images that shrink is looked at, in milliseconds. */
const SCRATCH_MEASURE_MS = 1_000

const QEMU = {
  reconnectMs: LEASE_RECONNECT_LIMIT_MS,
  unavailable: 'QMP_UNAVAILABLE',
  ended: 'its QEMU has ended',
  silent: 'QEMU no longer answers',
} as const

export interface QmpLeaseParts extends CopyingLeaseParts<QmpEntry, QmpHost> {
  readonly client: QmpCaller
  /** The process that QEMU writes to in mode push; null in mode pull. */
  readonly writer: PushServer | null
}

/** Why QEMU says that it shuts down, such as `guest-shutdown`. */
const reasonOf = ({ data: { reason } }: QmpEvent): string => (typeof reason === 'string' ? reason : 'no reason given')

/** One machine's lease. */
export class QmpLease extends CopyingLease<QmpEntry, QmpCaller, QmpHost> {
  readonly checkpoint = true
  /** Why QEMU is shutting down, once it has said so. */
  #shutdown: string | null = null
  #usedBytesMax = 0

  readonly #push: PushSide | null

  constructor({ client, writer, ...parts }: QmpLeaseParts) {
    super(parts, QEMU)
    this.#push =
      writer &&
      new PushSide({
        entry: this.entry,
        server: writer,
        connect: () => this.connect(),
        onBroken: (why) => void this.giveUp(this.lostBy(why)),
      })
    this.start(client)
    void this.#watchMove()
    if (this.#push !== null) void this.#watchWriter(this.#push)
    if (this.#push !== null || this.entry.disks.some(({ access }) => access !== null)) void this.#measure()
  }

  /** Records what became known at the instant. */
  override complete(entry: QmpEntry): void {
    super.complete(entry)
    void this.#push?.follow(entry, this.stopping)
  }

  protected override exportOf(
    disk: JournalDisk,
  ): Pick<LeasedDisk, 'socketPath' | 'dirtyContext'> & Partial<Pick<LeasedDisk, 'pushed' | 'discards'>> {
    const { socketPath, transfer, disks } = this.entry
    const { kind, access } = disk
    if (this.#push !== null) return { socketPath, dirtyContext: null, pushed: this.#push.content(disks.indexOf(disk)) }
    const dirtyContext = kind === 'incremental' ? `qemu:dirty-bitmap:${transfer}` : null
    return { socketPath, dirtyContext, ...(access === null ? {} : { discards: true }) }
  }

  protected override write(entry: QmpEntry): Promise<void> {
    return writeEntry(this.host.journal, entry)
  }

  protected override connect(): Promise<QmpCaller> {
    return this.host.connect(qmpPathOf(this.entry.machine))
  }

  protected override async look(client: QmpCaller, cause?: unknown): Promise<VarveError | null> {
    const move = await findMove(client)
    if (move !== null) return gaveWay(this.entry.machine.name, move)
    const why = findBreak(this.entry, await readInventory(client)) ?? (await this.#push?.problem()) ?? null
    return why === null ? null : this.lostBy(why, cause)
  }

  protected override subscribe(client: QmpCaller): () => void {
    return client.subscribe((event) => {
      if (event.event === 'SHUTDOWN') this.#shutdown = reasonOf(event)
      if (event.event === 'RESET') this.#shutdown = null
      const move = event.event === 'MIGRATION' ? underWay(event.data['status']) : null
      if (move !== null) void this.#giveWay(move)
      if (event.event === 'JOB_STATUS_CHANGE') this.#push?.wake()
      const why = breakingEvent(this.entry, event)
      if (why === null) return
      this.lose(this.lostBy(this.#shutdown === null ? why : `its QEMU has ended (${this.#shutdown})`))
    })
  }

  protected override stopCopying(client: QmpCaller): Promise<boolean> {
    return giveUpJobs(client, rescuedOf(this.entry))
  }

  protected override async remove(outcome: LeaseOutcome): Promise<void> {
    try {
      await finishLease(this.host, this.entry, outcome)
      await this.#push?.server.end()
    } finally {
      this.#push?.server[Symbol.dispose]()
    }
  }

  protected override isGone(error: unknown): boolean {
    return isGone(error)
  }

  /** What was read is discarded, so that the images are largest in the middle of the lease. */
  override async scratch(): Promise<ScratchUse | null> {
    const now = await super.scratch()
    if (now === null) return null
    this.#usedBytesMax = Math.max(this.#usedBytesMax, now.usedBytes)
    return { ...now, usedBytes: this.#usedBytesMax }
  }

  async whyUnreadable(): Promise<VarveError | null> {
    const broken = await findBroken(this.entry)
    return broken === null ? null : brokenBy(broken, this.entry.machine.name)
  }

  /** Keeps how large the images were, until the lease ends. */
  async #measure(): Promise<void> {
    while (!this.stopping.aborted) {
      await this.scratch()
      await pause(SCRATCH_MEASURE_MS, this.stopping)
    }
  }

  /** A guest's writes wait for that process: when it ends this one takes its place, and QEMU's jobs are cancelled. */
  async #watchWriter({ server }: PushSide): Promise<void> {
    const error = await server.lost
    if (this.isEnding) return
    this.lose(this.lostBy(error.message, error))
    try {
      await this.host.standIns.begin(await pushOrder(this.entry))
    } catch (thrown) {
      const about = { lease: this.id, machine: this.entry.machine.name, err: thrown }
      this.host.log.warn(about, 'the process that QEMU writes the backup to could not be replaced')
    }
    await this.giveUp(this.lostBy(error.message, error))
  }

  async #watchMove(): Promise<void> {
    const move = await watchMove({ connect: () => this.connect(), signal: this.stopping })
    if (move !== null) await this.#giveWay(move)
  }

  /** Removes at once what keeps the machine from moving; bitmaps are left to the end, which knows the outcome. */
  async #giveWay(move: string): Promise<void> {
    if (this.isEnding) return
    const { name } = this.entry.machine
    this.lose(gaveWay(name, move))
    try {
      await clearTheWay(() => this.connect(), this.entry)
    } catch (error) {
      const about = { lease: this.id, machine: name, err: error }
      this.host.log.warn(about, 'the way for a migration could not be cleared')
    }
  }
}
