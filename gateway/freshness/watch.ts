// The watcher: looks once a minute, tells what begins and what is good again, and says at the start how the last gateway ended.
import { asVarveError } from '../../protocol/errors.ts'
import type { Log } from '../../protocol/host/log.ts'
import { VERSION } from '../../protocol/host/version.ts'
import type { Clock } from '../../protocol/peer.ts'
import type { Catalog } from '../catalog/catalog.ts'
import type { Events } from '../events/events.ts'
import { clockAtStart, clockLater, clockVerdict, type ClockSeen, type Moment } from './watch-clock.ts'
import { LOOK_MS, type Look } from './watch-looks.ts'
import { markEnd, markStart } from './watch-start.ts'
import { beforeOf, newsOf, type Before, type Looked } from './watch-verdict.ts'

export interface WatchOptions {
  readonly catalog: Pick<Catalog, 'conditions' | 'settings' | 'watching'>
  readonly events: Pick<Events, 'tell' | 'conditions'>
  readonly looks: readonly Look[]
  readonly clock: Clock
  readonly log: Log
}

export class Watch implements AsyncDisposable {
  readonly #options: WatchOptions
  #clockSeen: ClockSeen
  /** When each look was made last, by a clock that nobody sets. */
  readonly #lookedMs = new Map<Look, number>()
  /** Looks that failed last time: said once until they work again. */
  readonly #failing = new Set<string>()
  #passing: Promise<void> = Promise.resolve()
  #stopTimer: () => void = () => {}
  #over = false

  private constructor(options: WatchOptions, seen: ClockSeen) {
    this.#options = options
    this.#clockSeen = seen
  }

  /** Marks the start, tells of it and of a crash before it, and looks from now on. */
  static async start(options: WatchOptions): Promise<Watch> {
    const { catalog, clock, events } = options
    const moment = momentOf(clock)
    const recordedMs = await catalog.watching.recordedMs()
    const crashedMs = await markStart(catalog.settings, moment.nowMs)
    if (crashedMs !== null)
      events.tell({
        kind: 'gateway.crashed',
        tenant: null,
        severity: 'error',
        text:
          `the gateway that was started at ${new Date(crashedMs).toISOString()} did not end as it should (kill -9, loss of power, no ` +
          'memory left?); what it had acknowledged is there, and journalctl -u varve-gateway tells more',
        data: { startedMs: crashedMs },
      })
    const text = `the gateway was started: varve-gateway ${VERSION}`
    events.tell({ kind: 'gateway.started', tenant: null, text, data: { version: VERSION } })
    const watch = new Watch(options, clockAtStart(moment, recordedMs))
    watch.#next(0)
    return watch
  }

  /** Makes the looks that are due, and tells the news; a look that fails leaves what it would have said as it was. */
  pass(): Promise<void> {
    this.#passing = this.#passing.then(() => this.#pass())
    return this.#passing
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over = true
    this.#stopTimer()
    await this.#passing
    const { catalog, log } = this.#options
    await markEnd(catalog.settings).catch((error: unknown) =>
      log.error({ err: error }, 'the end cannot be noted: the next start will take it for a crash'),
    )
  }

  #next(ms: number): void {
    this.#stopTimer = this.#options.clock.after(ms, () => {
      void this.pass().finally(() => {
        if (!this.#over) this.#next(LOOK_MS)
      })
    })
  }

  async #pass(): Promise<void> {
    const moment = momentOf(this.#options.clock)
    this.#clockSeen = clockLater(this.#clockSeen, moment)
    const own = clockVerdict(this.#clockSeen)
    const clock = async (): Promise<Looked> => ({ verdicts: own === null ? [] : [own], unseen: () => true })
    await this.#tell({ name: 'clock', kinds: ['clock.wrong'] }, clock)
    for (const look of this.#options.looks) {
      if (this.#over) return
      const lastMs = this.#lookedMs.get(look)
      // half a look early is not too early: timers are not exact
      if (lastMs !== undefined && moment.elapsedMs - lastMs < look.everyMs - LOOK_MS / 2) continue
      if (await this.#tell(look, (before) => look.look(moment, before))) this.#lookedMs.set(look, moment.elapsedMs)
    }
  }

  /** Whether the look could be made, and its news told. */
  async #tell(
    { name, kinds }: Pick<Look, 'name' | 'kinds'>,
    look: (before: Before) => Promise<Looked>,
  ): Promise<boolean> {
    const { catalog, events, log } = this.#options
    try {
      const held = (await Promise.all(kinds.map((kind) => catalog.conditions.all({ kind })))).flat()
      const changes = newsOf(held, await look(beforeOf(held)))
      if (changes.length > 0) await events.conditions.apply(changes)
      if (this.#failing.delete(name)) log.info({ look: name }, 'the watcher can look again')
      return true
    } catch (thrown) {
      const err = asVarveError(thrown)
      if (!this.#failing.has(name))
        log.error({ look: name, err }, 'the watcher cannot look: what it told stays as it is')
      this.#failing.add(name)
      return false
    }
  }
}

const momentOf = (clock: Clock): Moment => ({ nowMs: clock.now(), elapsedMs: clock.elapsed() })
