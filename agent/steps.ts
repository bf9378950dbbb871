// What took how long in one backup: told with its end, for measurements at the gateway.
import type { Clock } from '../protocol/peer.ts'
import type { BackupStep } from '../protocol/backup.ts'
import { STEPS_MAX, type Step } from '../protocol/steps.ts'

interface Timed {
  readonly step: BackupStep
  readonly disk: string | null
  /** By the clock that never goes back, in milliseconds. */
  readonly beganMs: number
  endedMs: number | null
  bytes: number
}

export class Steps {
  readonly #clock: Clock
  readonly #steps: Timed[] = []
  readonly sinceMs: number
  #sent = 0
  /** How long the guest was frozen, in milliseconds: 0 where it was not; null where an earlier process may have frozen it. */
  #frozenMs: number | null = null

  constructor(clock: Clock) {
    this.#clock = clock
    this.sinceMs = clock.now()
  }

  /** What is done now, the innermost of it; null between two steps. */
  get current(): BackupStep | null {
    return this.#steps.findLast(({ endedMs }) => endedMs === null)?.step ?? null
  }

  get bytesRead(): number {
    return this.#steps.reduce((sum, { bytes }) => sum + bytes, 0)
  }

  get bytesSent(): number {
    return this.#sent
  }

  sent(bytes: number): void {
    this.#sent += bytes
  }

  /** Times work; steps past STEPS_MAX are left out. `count` adds bytes that were read. */
  async time<R>(
    step: BackupStep,
    work: (count: (bytes: number) => void) => Promise<R>,
    disk: string | null = null,
  ): Promise<R> {
    const timed: Timed = { step, disk, beganMs: this.#clock.elapsed(), endedMs: null, bytes: 0 }
    if (this.#steps.length < STEPS_MAX) this.#steps.push(timed)
    try {
      return await work((bytes) => void (timed.bytes += bytes))
    } finally {
      timed.endedMs = this.#clock.elapsed()
    }
  }

  /** To be told of every freeze of the guest from now on; there was none before. */
  watchFreeze(): (frozenMs: number) => void {
    this.#frozenMs = 0
    return (frozenMs) => this.thawed(frozenMs)
  }

  /** The guest was frozen for so long until now. */
  thawed(frozenMs: number): void {
    const endedMs = this.#clock.elapsed()
    // one that was frozen is not told as one that was not
    this.#frozenMs = (this.#frozenMs ?? 0) + Math.max(1, Math.round(frozenMs))
    if (this.#steps.length < STEPS_MAX)
      this.#steps.push({ step: 'freeze', disk: null, beganMs: endedMs - frozenMs, endedMs, bytes: 0 })
  }

  /** With the freeze, for the message of the commit. */
  told(): { steps: Step[]; frozenMs: number | null } {
    return { steps: this.list(), frozenMs: this.#frozenMs }
  }

  /** As they are told in a message that is made now. */
  list(): Step[] {
    const nowMs = this.#clock.elapsed()
    return this.#steps.map(({ step, disk, beganMs, endedMs, bytes }) => ({
      step,
      disk,
      agoMs: Math.max(0, Math.round(nowMs - beganMs)),
      tookMs: Math.max(0, Math.round((endedMs ?? nowMs) - beganMs)),
      bytes,
    }))
  }
}
