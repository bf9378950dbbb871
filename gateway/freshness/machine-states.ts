// The states of machines as they are in the catalog now. What is expensive of them, when slots come, is computed once for each
// restore point.
import type { Covered, MachineState } from '../../protocol/coverage.ts'
import type { Clock } from '../../protocol/peer.ts'
import type { Catalog } from '../catalog/catalog.ts'
import { COVERAGE_PAGE_MAX, type CoverageAsked, type CoverageRow, type PlanTiming } from '../catalog/coverage.ts'
import { deadlineOf, DURATIONS_MAX, slotAfter, usualMs } from '../plans/deadline.ts'
import { jitterMs } from '../plans/jitter.ts'
import { nextOpen } from '../plans/window.ts'
import { stateOf, type StateOf } from './state.ts'

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

/** Which machines are asked for; absent ones narrow nothing. */
export interface StatesAsked extends CoverageAsked {
  readonly states: readonly MachineState[] | null
  readonly plan: string | null
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

  constructor(uses: Uses) {
    this.#uses = uses
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
          seenMs: Math.max(row.seenMs, this.#sinceMs),
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
    for (let after: string | null = null; ;) {
      const page: MachineIn[] = await this.page({ tenant, machine: null, group: null, after, limit: COVERAGE_PAGE_MAX })
      if (page.length > 0) yield page
      if (page.length < COVERAGE_PAGE_MAX) return
      after = page.at(-1)!.row.name
    }
  }

  /** Machines in some states, and whether others may follow; looks at as many as it takes to find `limit` of them. */
  async list(asked: StatesAsked): Promise<{ rows: MachineIn[]; more: boolean }> {
    const { states, plan, limit } = asked
    const rows: MachineIn[] = []
    const narrow = states !== null || plan !== null
    for (let { after } = asked; ;) {
      const size = narrow ? COVERAGE_PAGE_MAX : Math.min(COVERAGE_PAGE_MAX, limit - rows.length + 1)
      const page = await this.page({ ...asked, after, limit: size })
      for (const one of page) {
        if (states !== null && !states.includes(one.is.state)) continue
        if (plan !== null && one.row.plan?.name !== plan) continue
        if (rows.length === limit) return { rows, more: true }
        rows.push(one)
      }
      if (page.length < size) return { rows, more: false }
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
      lastPointMs: row.lastPoint?.timeMs ?? null,
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
