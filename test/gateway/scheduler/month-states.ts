// The states of a simulated month's machines: watched by processes that are killed as they tell of a change, before or after
// it is made. What they saw is kept, for a check of what was told.
import { Events } from '../../../gateway/events/events.ts'
import { MachineStates, type MachineIn } from '../../../gateway/freshness/machine-states.ts'
import { Freshness } from '../../../gateway/freshness/state-watch.ts'
import type { Log } from '../../../protocol/host/log.ts'
import { Dice } from '../../support/model-dice.ts'
import { intercepted } from '../../support/intercept.ts'
import { HOUR_MS, MINUTE_MS, type Month } from './month.ts'

const SILENT = { info() {}, warn() {}, error() {}, debug() {} } as unknown as Log

/** How often one is killed as it tells. */
const KILL_CHANCE = 0.2

/** What one look saw of a machine: the state to be told, or that nothing is to be. */
interface Seen {
  readonly value: string
  /** Whether the look came to its end: of another one nobody knows whether it was told. */
  certain: boolean
}

/** One process that watches. */
interface Watcher {
  alive: boolean
  readonly freshness: Freshness
}

const valueOf = ({ is: { state, telling } }: MachineIn): string =>
  state === 'fresh' || telling === 'quiet' ? 'good' : state

export class MonthStates {
  readonly seen = new Map<string, Seen[]>()
  kills = 0
  readonly #month: Month
  readonly #dice = new Dice(7)
  #watcher: Watcher

  constructor(month: Month) {
    this.#month = month
    this.#watcher = this.#open()
    month.settling.push(() => this.#watcher.freshness.settled())
  }

  async close(): Promise<void> {
    await this.#watcher.freshness[Symbol.asyncDispose]()
  }

  #open(): Watcher {
    const { catalog, clock, events } = this.#month
    const life = { alive: true }
    const guarded = intercepted(catalog, async (name, _args, call) => {
      if (!life.alive) throw new Error('killed')
      if (name !== 'conditions.apply' || !this.#dice.chance(KILL_CHANCE)) return call()
      // what was asked for is there, or it is not, and nobody learns which
      if (this.#dice.chance(0.5)) await call()
      this.#kill()
      throw new Error('killed')
    })
    const own = new Events({ catalog: guarded, clock, log: SILENT })
    const states = new MachineStates({ catalog: guarded, online: (agent) => !this.#month.isAway(agent), clock })
    const freshness = new Freshness({
      catalog: guarded,
      events: { conditions: own.conditions, listen: (listener) => events.listen(listener) },
      states: this.#recording(states),
      clock,
      log: SILENT,
      lookMs: 6 * HOUR_MS,
      soonMs: 2 * HOUR_MS,
    }).start()
    return Object.assign(life, { freshness })
  }

  #kill(): void {
    this.kills++
    const dead = this.#watcher
    dead.alive = false
    void dead.freshness[Symbol.asyncDispose]()
    this.#month.clock.after(this.#dice.below(6 * HOUR_MS) + MINUTE_MS, () => (this.#watcher = this.#open()))
  }

  /** The same states, which note what they gave; a page is certain once the next one is asked for, or the look is over. */
  #recording(states: MachineStates): Pick<MachineStates, 'all' | 'page'> {
    const note = (tenant: string, page: readonly MachineIn[]): Seen[] =>
      page.flatMap((one) => {
        // what may be over by itself changes nothing
        if (one.is.telling === 'later') return []
        const seen = { value: valueOf(one), certain: false }
        const key = `${tenant} ${one.row.name}`
        this.seen.set(key, [...(this.seen.get(key) ?? []), seen])
        return [seen]
      })
    return {
      page: async (asked) => {
        const page = await states.page(asked)
        // of a look at one machine nobody knows whether it came to its end
        note(asked.tenant, page)
        return page
      },
      all: async function* (tenant) {
        for await (const page of states.all(tenant)) {
          const noted = note(tenant, page)
          yield page
          for (const seen of noted) seen.certain = true
        }
      },
    }
  }
}

/** Whether what was told of a machine is what was seen of it: each certain change once, and of others at most one. */
export const toldRightly = (seen: readonly Seen[], told: readonly string[]): boolean => {
  // all that may be so by now: what stands as told, and how many were told
  let possible = new Map([['good 0', { value: 'good', count: 0 }]])
  for (const { value, certain } of seen) {
    const next = new Map<string, { value: string; count: number }>()
    const keep = (one: { value: string; count: number }): unknown => next.set(`${one.value} ${one.count}`, one)
    for (const one of possible.values()) {
      if (one.value === value || !certain) keep(one)
      if (one.value !== value && told[one.count] === value) keep({ value, count: one.count + 1 })
    }
    possible = next
  }
  return [...possible.values()].some(({ count }) => count === told.length)
}

/** What is wrong with what was told of the states of a month's machines, as sentences. */
export const stateProblems = async (
  month: Month,
  states: MonthStates,
): Promise<{ problems: string[]; told: number }> => {
  const problems: string[] = []
  let count = 0
  for (const { tenant, name, key } of month.machines) {
    const asked = { tenant: tenant.id, kinds: ['machine.state'], machine: name, limit: 1000 } as const
    const { events, first } = await month.catalog.events.follow({ ...asked, after: 0 })
    // its agents were enrolled in 1970: those events are older than what is kept
    if (first > 9) problems.push(`events of ${tenant.name} were removed: the check has only a part`)
    const told = events.map(({ active, data }) => (active === true ? String(data['state']) : 'good'))
    count += told.length
    if (!toldRightly(states.seen.get(key) ?? [], told)) problems.push(`${key}: ${told.join(' ')} was told`)
    const [held] = (await month.catalog.conditions.of({ tenant: tenant.id, kind: 'machine.state' })).filter(
      (one) => one.machine === name,
    )
    if ((held?.value ?? 'good') !== (told.at(-1) ?? 'good')) problems.push(`${key}: not the last that was told stands`)
  }
  return { problems, told: count }
}
