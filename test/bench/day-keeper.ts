// Who keeps the store of a scripted day: prunes, collects and verifies beside the backups, one command after the other.
import { setTimeout as sleep } from 'node:timers/promises'
import type { CollectionReport, VerifyReport } from '../../protocol/maintenance.ts'
import { run } from '../rig/run.ts'
import type { KeepCommands, Keeping } from './keep-commands.ts'

/** Between the end of one command and the start of the next, in milliseconds. */
const PAUSE_MS = 1000

const COMMAND_TIMEOUT_MS = 10 * 60_000

/** A report and how long its whole command took. */
export interface Timed<R> {
  readonly seconds: number
  readonly report: R
}

export interface PruneCounts {
  readonly removed: number
  readonly pointCount: number
}

const WORKS = ['prune', 'collect', 'prune', 'verify'] as const

export class DayKeeper implements AsyncDisposable {
  readonly prunes: Timed<PruneCounts>[] = []
  readonly collections: Timed<CollectionReport>[] = []
  readonly verifications: Timed<VerifyReport>[] = []
  readonly #commands: KeepCommands
  readonly #rules: readonly string[]
  readonly #signal: AbortSignal
  #stop = new AbortController()
  #running: Promise<void> = Promise.resolve()

  constructor(options: { commands: KeepCommands; rules: readonly string[]; signal: AbortSignal }) {
    this.#commands = options.commands
    this.#rules = options.rules
    this.#signal = options.signal
  }

  /** Works until `stop`, waiting for nobody; `onFailure` is told once when a command fails. */
  start(onFailure: (error: unknown) => void): void {
    this.#stop = new AbortController()
    this.#running = this.#run()
    this.#running.catch(onFailure)
  }

  /** Waits for the command on its way; throws what one failed with. */
  async stop(): Promise<void> {
    this.#stop.abort()
    await this.#running
  }

  async prune(): Promise<Timed<PruneCounts>> {
    const pruned = await this.#timed(this.#commands.prune(...this.#rules))
    const { removed, pointCount } = pruned.report
    const counted = { seconds: pruned.seconds, report: { removed, pointCount } }
    this.prunes.push(counted)
    return counted
  }

  /** A collection; throws when something that is needed is missing. */
  async collect(): Promise<Timed<CollectionReport>> {
    const collected = await this.#timed(this.#commands.collect())
    if (collected.report.missing > 0) throw new Error(`a collection misses ${collected.report.missing} records`)
    this.collections.push(collected)
    return collected
  }

  /** A verification of everything; throws when something is damaged. */
  async verify(): Promise<Timed<VerifyReport>> {
    const verified = await this.#timed(this.#commands.verify())
    const { points, good, damagedCount } = verified.report
    if (good !== points || damagedCount > 0)
      throw new Error(`${good} of ${points} points are good, ${damagedCount} records damaged`)
    this.verifications.push(verified)
    return verified
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await this.#running.catch(() => {})
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop
    for (let turn = 0; !signal.aborted; turn++) {
      await this[WORKS[turn % WORKS.length]!]()
      await sleep(PAUSE_MS, undefined, { signal }).catch(() => {})
    }
  }

  async #timed<R>({ command, read }: Pick<Keeping<never>, 'command'> & { read(output: string): R }): Promise<Timed<R>> {
    const startMs = performance.now()
    const options = { timeoutMs: COMMAND_TIMEOUT_MS, signal: this.#signal }
    const output = await run(command.program, command.args, options)
    return { seconds: (performance.now() - startMs) / 1000, report: read(output) }
  }
}
