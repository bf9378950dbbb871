// What the gateway is told of the end of a backup: asked to commit it, told why it failed, and that its machine is released.
import { asVarveError, type VarveError } from '../protocol/errors.ts'
import type { Params } from '../protocol/methods.ts'
import type { Clock, Peer } from '../protocol/peer.ts'
import type { Log } from '../protocol/host/log.ts'
import { retry } from './retry.ts'
import { isBreak, type GatewayLink } from './session/link.ts'
import type { Steps } from './steps.ts'

/** Tries of a commit that the gateway did not answer in time or could not write, and the pause in milliseconds. */
const COMMITS = {
  triesMax: 10,
  pauseMs: 1000,
  passes: ({ retry: passes, endsConnection }: VarveError): boolean => passes && !endsConnection,
} as const

/** How long to try to report to the gateway that a lease was released, in milliseconds. */
const RELEASED_LIMIT_MS = 10_000

/** Longest reason of a failure that is told, in characters. */
const REASON_CHARS_MAX = 1024

export class EndReports {
  readonly #link: () => Pick<GatewayLink, 'repeat' | 'call'>
  readonly #clock: Clock
  readonly #log: Pick<Log, 'info' | 'warn'>
  readonly #signal: AbortSignal

  /** Once `signal` aborts, nothing waits for the gateway any more. */
  constructor(options: {
    readonly link: () => Pick<GatewayLink, 'repeat' | 'call'>
    readonly clock: Clock
    readonly log: Pick<Log, 'info' | 'warn'>
    readonly signal: AbortSignal
  }) {
    this.#link = options.link
    this.#clock = options.clock
    this.#log = options.log
    this.#signal = options.signal
  }

  /**
   * Cannot be cancelled: once asked, only the gateway knows whether the point is committed, so it is asked until it answers, for
   * `awayMs` at most while it is away.
   */
  async commit(
    job: string,
    steps: Pick<Steps, 'told'>,
    took: Pick<Params<'backup.commit'>, 'bytesRead' | 'scratch'>,
    awayMs: number,
  ): Promise<void> {
    const signal = this.#signal
    const commit = (peer: Peer) => peer.call('backup.commit', { job, ...took, ...steps.told() }, { signal })
    await retry(() => this.#link().repeat(commit, signal, awayMs), { ...COMMITS, clock: this.#clock })
  }

  /** One that cannot be told is logged, unless the gateway has ended the job or is away. */
  async failed(job: string, steps: Pick<Steps, 'list'>, { code, message }: VarveError): Promise<void> {
    try {
      const failed = { job, code, message: message.slice(0, REASON_CHARS_MAX), steps: steps.list() }
      await this.#link().call('backup.fail', failed, this.#signal)
    } catch (thrown) {
      const told = asVarveError(thrown)
      if (told.code !== 'JOB_ENDED' && !isBreak(told))
        this.#log.warn({ job, code: told.code }, 'the gateway could not be notified that the backup failed')
    }
  }

  /** Not waited for; the next inventory reports it too. */
  released(job: string): void {
    this.#link()
      .call('backup.released', { job }, this.#signal, RELEASED_LIMIT_MS)
      .catch((thrown: unknown) => {
        const { code } = asVarveError(thrown)
        this.#log.info({ job, code }, 'the gateway could not be notified that the lease was released')
      })
  }
}
