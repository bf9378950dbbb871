// The states of machines as they are in the catalog now. What is expensive of them, when slots come, is computed once for each
// restore point.
import type { COVERAGE_ORDERS, Covered, MachineState } from '../../protocol/coverage.ts'
import type { Clock } from '../../protocol/peer.ts'
import type { Catalog } from '../catalog/catalog.ts'
import { COVERAGE_PAGE_MAX, type CoverageAsked, type CoverageRow, type PlanTiming } from '../catalog/coverage.ts'
import { deadlineOf, DURATIONS_MAX, slotAfter, usualMs } from '../plans/deadline.ts'
import { jitterMs } from '../plans/jitter.ts'
import { nextOpen } from '../plans/window.ts'
import { byWorst, Roll, Rolls, worstKey, type RollRow, type WorstKey } from './state-roll.ts'
import { heardMs, stateOf, type StateOf } from './state.ts'

interface Uses {
  readonly catalog: Pick<Catalog, 'coverage' | 'runs'>
  /** Whether an agent is connected. */
  readonly online: (agent: string) => boolean
  readonly clock: Pick<Clock, 'now'>
}

/** A machine with its state. */
export interface MachineIn {
  readonly row: CoverageRow
  readonly online: boolean
  readonly is: StateOf
}

/** Which machines are asked for, in which order. */
export interface StatesAsked {
  readonly tenant: string
  readonly states: readonly MachineState[] | null
  readonly machine: string | null
  readonly group: string | null
  readonly plan: string | null
  readonly contains: string | null
  readonly order: (typeof COVERAGE_ORDERS)[number]
  /** The last key of the page before; null for the first page. Of the order by name only its name counts. */
  readonly after: WorstKey | null
  readonly limit: number
}

/** A machine with its place in the list that was asked for. */
export interface Placed {
  readonly one: MachineIn
  readonly key: WorstKey
}

/** A deadline, and what it was computed from. */
interface Deadline {
  readonly from: string
  readonly deadlineMs: number | null
}

/** Machines whose deadlines are remembered. */
const KNOWN_MAX = 100_000

export class MachineStates {
  readonly #uses: Uses
  /** By tenant and machine. */
  readonly #deadlines = new Map<string, Deadline>()
  /** An agent is not unheard of since before this gateway could hear it. */
  readonly #sinceMs: number
  readonly #rolls: Rolls

  constructor(uses: Uses) {
    this.#uses = uses
    const { catalog, clock } = uses
    this.#rolls = new Rolls({
      now: () => clock.now(),
      mark: (tenant) => catalog.coverage.mark({ tenant }),
      changed: (tenant, event) => catalog.coverage.changed({ tenant, event }),
      all: (tenant) => this.#walk(tenant),
      some: async (tenant, machines) => (await this.#named(tenant, machines)).map(rollRow),
    })
    this.#sinceMs = uses.clock.now()
  }

  /** Machines by name, at most COVERAGE_PAGE_MAX, whatever their states. */
  async page(asked: CoverageAsked): Promise<MachineIn[]> {
    const { catalog, online, clock } = this.#uses
    const rows = await catalog.coverage.facts(asked)
    const usual = await this.#usual(asked.tenant, rows)
    const nowMs = clock.now()
    return rows.map((row) => {
      const connected = online(row.agent)
      const { failure: failing, lastPoint, ...facts } = row
      const is = stateOf(
        {
          ...facts,
          online: connected,
          seenMs: heardMs(row.seenMs, this.#sinceMs, nowMs),
          lastPointMs: lastPoint?.timeMs ?? null,
          failing,
          deadlineMs: this.#deadline(asked.tenant, row, usual),
        },
        nowMs,
      )
      return { row, online: connected, is }
    })
  }

  /** All machines of a tenant, page by page. */
  async *all(tenant: string): AsyncGenerator<MachineIn[]> {
    const { catalog, clock } = this.#uses
    const mark = await catalog.coverage.mark({ tenant })
    const atMs = clock.now()
    const rows: RollRow[] = []
    for await (const page of this.#pages({ tenant, machine: null, group: null })) {
      for (const one of page) rows.push(rollRow(one))
      yield page
    }
    this.#rolls.keep(tenant, new Roll(mark, atMs, rows))
  }

  /** The states of all machines of a tenant, see Rolls.of. */
  roll(tenant: string): Promise<Roll> {
    return this.#rolls.of(tenant)
  }

  /**
   * A page of machines as they are now, and whether others may follow. Of a whole tenant its places come from a roll, so only the
   * machines of the page are looked at; of one group all are.
   */
  async list(asked: StatesAsked): Promise<{ rows: Placed[]; more: boolean }> {
    const { tenant, machine, group, states, plan, contains, order, after, limit } = asked
    if (machine === null && group === null && states === null && plan === null && order === 'name') {
      const page = { tenant, machine, group, contains, after: after?.[2] ?? null, limit: limit + 1 }
      const rows = (await this.page(page)).map(placed)
      return { rows: rows.slice(0, limit), more: rows.length > limit }
    }
    const behind = (key: WorstKey): boolean =>
      after === null || (order === 'name' ? key[2] > after[2] : byWorst(key, after) > 0)
    const rows =
      machine === null && group === null ? await this.#rolled(asked, behind) : await this.#gathered(asked, behind)
    return { rows: rows.slice(0, limit), more: rows.length > limit }
  }

  /** Rows of a list behind a place, one more than a page: of a machine or a group, whose machines are all looked at. */
  async #gathered(asked: StatesAsked, behind: (key: WorstKey) => boolean): Promise<Placed[]> {
    const { tenant, machine, group, order, contains, limit } = asked
    const found: Placed[] = []
    for await (const page of this.#pages({ tenant, machine, group, contains }))
      for (const one of page.map(placed)) if (behind(one.key) && isWanted(asked, one.one)) found.push(one)
    if (order === 'worst') found.sort((a, b) => byWorst(a.key, b.key))
    return found.slice(0, limit + 1)
  }

  /** The same of a whole tenant: what is no more as the roll has it is left out. */
  async #rolled(asked: StatesAsked, behind: (key: WorstKey) => boolean): Promise<Placed[]> {
    const { tenant, states, plan, contains, order, limit } = asked
    const roll = await this.#rolls.of(tenant)
    const part = contains?.toLowerCase() ?? ''
    const rows: Placed[] = []
    let wanted: RollRow[] = []
    const look = async (): Promise<void> => {
      const names = wanted.map(({ name }) => name)
      const found = new Map((await this.#named(tenant, names)).map((one) => [one.row.name, one]))
      for (const row of wanted) {
        const one = found.get(row.name)
        if (one !== undefined && isWanted(asked, one)) rows.push({ one, key: worstKey(row) })
      }
      wanted = []
    }
    for (const row of order === 'worst' ? roll.worstFirst() : roll.byName()) {
      if (states !== null && !states.includes(row.state)) continue
      if (plan !== null && row.plan !== plan) continue
      if (part !== '' && !row.name.toLowerCase().includes(part)) continue
      if (!behind(worstKey(row))) continue
      wanted.push(row)
      if (rows.length + wanted.length <= limit) continue
      await look()
      if (rows.length > limit) return rows
    }
    await look()
    return rows
  }

  async #walk(tenant: string): Promise<RollRow[]> {
    const rows: RollRow[] = []
    for await (const page of this.#pages({ tenant, machine: null, group: null }))
      for (const one of page) rows.push(rollRow(one))
    return rows
  }

  /** Machines by name, at most COVERAGE_PAGE_MAX. */
  async #named(tenant: string, machines: readonly string[]): Promise<MachineIn[]> {
    if (machines.length === 0) return []
    return await this.page({ tenant, machine: null, machines, group: null, after: null, limit: machines.length })
  }

  async *#pages(asked: Omit<CoverageAsked, 'after' | 'limit'>): AsyncGenerator<MachineIn[]> {
    for (let after: string | null = null; ;) {
      const page: MachineIn[] = await this.page({ ...asked, after, limit: COVERAGE_PAGE_MAX })
      if (page.length > 0) yield page
      if (page.length < COVERAGE_PAGE_MAX) return
      after = page.at(-1)!.row.name
    }
  }

  /** A machine as it is shown. */
  view(tenant: string, { row, online, is }: MachineIn): Covered {
    return {
      machine: row.name,
      group: row.group,
      agent: row.agent,
      host: row.host,
      online,
      plan: row.plan?.name ?? null,
      state: is.state,
      reason: is.reason,
      sinceMs: is.sinceMs,
      deadlineMs: is.deadlineMs,
      targetMs: targetOf(row, is),
      lastPointMs: row.lastPoint?.timeMs ?? null,
      last: row.lastPoint,
      lastVerifiedMs: row.lastVerifiedMs,
      lastError: row.failure?.error ?? null,
      nextMs: this.#next(tenant, row, is),
      exclusion: is.state === 'excluded' ? row.exclusion : null,
    }
  }

  /** What backups of machines usually take, of those whose deadline depends on it and is not known. */
  async #usual(tenant: string, rows: readonly CoverageRow[]): Promise<Readonly<Record<string, number[]>>> {
    const unknown = rows.filter(
      (row) =>
        row.plan !== null &&
        row.plan.rpoMs === null &&
        row.plan.schedule !== null &&
        row.lastPoint !== null &&
        this.#deadlines.get(keyOf(tenant, row.name))?.from !== fromOf(row, row.plan),
    )
    if (unknown.length === 0) return {}
    const machines = unknown.map(({ name }) => name)
    return await this.#uses.catalog.runs.durations({ tenant, machines, limit: DURATIONS_MAX })
  }

  #deadline(tenant: string, row: CoverageRow, usual: Readonly<Record<string, number[]>>): number | null {
    const { plan, lastPoint, name } = row
    if (plan === null) return null
    const key = keyOf(tenant, name)
    const from = fromOf(row, plan)
    const known = this.#deadlines.get(key)
    if (known?.from === from) return known.deadlineMs
    const deadlineMs = deadlineOf(plan, {
      lastPointMs: lastPoint?.timeMs ?? null,
      sinceMs: sinceOf(row),
      jitterMs: jitterMs({ tenant, machine: name, plan: plan.name }, plan.jitterMs),
      usualMs: usualMs(usual[name] ?? []),
    })
    if (this.#deadlines.size >= KNOWN_MAX) this.#deadlines.clear()
    this.#deadlines.set(key, { from, deadlineMs })
    return deadlineMs
  }

  /** When its next backup is to start; null where none is. */
  #next(tenant: string, { plan, name, dueMs }: CoverageRow, { state, deadlineMs }: StateOf): number | null {
    if (dueMs !== null) return dueMs
    if (plan === null || !plan.enabled || state === 'excluded' || state === 'archived') return null
    const nowMs = this.#uses.clock.now()
    const jitter = jitterMs({ tenant, machine: name, plan: plan.name }, plan.jitterMs)
    const slotMs = slotAfter(plan, jitter, nowMs) ?? deadlineMs
    return slotMs === null ? null : nextOpen(plan.window, plan.timeZone, Math.max(nowMs, slotMs))
  }
}

const rollRow = ({ row, is }: MachineIn): RollRow => ({
  name: row.name,
  plan: row.plan?.name ?? null,
  state: is.state,
  deadlineMs: is.deadlineMs,
  lastPointMs: row.lastPoint?.timeMs ?? null,
})

const placed = (one: MachineIn): Placed => ({ one, key: worstKey(rollRow(one)) })

const isWanted = ({ states, plan }: Pick<StatesAsked, 'states' | 'plan'>, { row, is }: MachineIn): boolean =>
  (states === null || states.includes(is.state)) && (plan === null || row.plan?.name === plan)

/** How old the newest point may be; of a machine without one what its plan says, and null where nothing is expected. */
const targetOf = ({ lastPoint, plan }: CoverageRow, { deadlineMs }: StateOf): number | null => {
  if (deadlineMs === null) return null
  return lastPoint === null ? (plan?.rpoMs ?? null) : Math.max(0, deadlineMs - lastPoint.timeMs)
}

const keyOf = (tenant: string, machine: string): string => `${tenant} ${machine}`

/** Since when its plan is to protect it. */
const sinceOf = ({ plannedSinceMs, createdMs }: CoverageRow): number => plannedSinceMs ?? createdMs

const timingTexts = new WeakMap<PlanTiming, string>()

const timingText = (plan: PlanTiming): string => {
  const known = timingTexts.get(plan)
  if (known !== undefined) return known
  const text = JSON.stringify(plan)
  timingTexts.set(plan, text)
  return text
}

/** All that a deadline is computed from, but durations, which change with points. */
const fromOf = (row: CoverageRow, plan: PlanTiming): string =>
  `${row.lastPoint?.id ?? ''} ${sinceOf(row)} ${timingText(plan)}`
