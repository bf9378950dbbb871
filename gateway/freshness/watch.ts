// The watcher: looks once a minute, and tells what begins and what is good again.
import { asVarveError } from '../../protocol/errors.ts'
import type { Log } from '../../protocol/host/log.ts'
import type { Clock } from '../../protocol/peer.ts'
import type { Catalog } from '../catalog/catalog.ts'
import type { Events } from '../events/events.ts'
import { clockAtStart, clockLater, clockVerdict, type ClockSeen, type Moment } from './watch-clock.ts'
import { LOOK_MS, type Look } from './watch-looks.ts'
import { beforeOf, newsOf, type Before, type Looked } from './watch-verdict.ts'

export interface WatchOptions {
  readonly catalog: Pick<Catalog, 'conditions'>
  readonly events: Pick<Events, 'conditions'>
  readonly looks: readonly Look[]
  readonly clock: Clock
  readonly log: Log
  /** The time of the last thing that was recorded before the start; null where nothing was. */
  readonly recordedMs: number | null
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

  /** Looks at once, and each minute from then on. */
  constructor(options: WatchOptions) {
    this.#options = options
    this.#clockSeen = clockAtStart(momentOf(options.clock), options.recordedMs)
    this.#next(0)
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
