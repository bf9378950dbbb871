// Rolls: the states of all machines of a tenant as they were seen last, in an order, so that a page of them need not look at all.
import { STATES_WORST_FIRST, type MachineState } from '../../protocol/coverage.ts'
import type { CoverageMark } from '../catalog/coverage.ts'

/** A roll this old, in milliseconds, is renewed for whoever asks next; what passing time alone changes shows as late as that. */
export const ROLL_SOFT_MS = 10_000

/** An older one, in milliseconds, is not used: all machines are looked at each minute anyway. */
export const ROLL_HARD_MS = 90_000

/** Machines of all rolls together; past them the roll that was not used for longest goes. */
const ROLL_ROWS_MAX = 200_000

/** What of a machine its place in lists depends on. */
export interface RollRow {
  readonly name: string
  readonly plan: string | null
  readonly state: MachineState
  readonly deadlineMs: number | null
  readonly lastPointMs: number | null
}

/** A place in the order worst first: rank of the state, deadline, name. */
export type WorstKey = readonly [rank: number, deadlineMs: number, name: string]

const RANK = Object.fromEntries(STATES_WORST_FIRST.map((state, rank) => [state, rank])) as Record<MachineState, number>

/** Nothing is expected of those without a deadline: they come last of their state. */
export const worstKey = ({ state, deadlineMs, name }: Pick<RollRow, 'state' | 'deadlineMs' | 'name'>): WorstKey => [
  RANK[state],
  deadlineMs ?? Number.MAX_SAFE_INTEGER,
  name,
]

/** Names compare as the catalog does, which is not as people's languages do. */
export const byWorst = (one: WorstKey, other: WorstKey): number => {
  if (one[0] !== other[0]) return one[0] - other[0]
  if (one[1] !== other[1]) return one[1] - other[1]
  return one[2] < other[2] ? -1 : Number(one[2] > other[2])
}

/** The states of a tenant. */
export class Roll {
  readonly mark: CoverageMark
  readonly atMs: number
  readonly #rows: Map<string, RollRow>
  #worst: RollRow[] | null = null

  /** `rows` by name. */
  constructor(mark: CoverageMark, atMs: number, rows: readonly RollRow[]) {
    this.mark = mark
    this.atMs = atMs
    this.#rows = new Map(rows.map((row) => [row.name, row]))
  }

  get size(): number {
    return this.#rows.size
  }

  byName(): Iterable<RollRow> {
    return this.#rows.values()
  }

  worstFirst(): readonly RollRow[] {
    this.#worst ??= [...this.#rows.values()]
      .map((row) => ({ row, key: worstKey(row) }))
      .sort((a, b) => byWorst(a.key, b.key))
      .map(({ row }) => row)
    return this.#worst
  }

  /** The same with machines that were looked at again, as of an event. */
  with(rows: readonly RollRow[], event: number): Roll {
    const all = new Map(this.#rows)
    // a machine that is not in the roll came since: the mark tells that
    for (const row of rows) if (all.has(row.name)) all.set(row.name, row)
    return new Roll({ ...this.mark, event }, this.atMs, [...all.values()])
  }
}

interface Looks {
  readonly now: () => number
  readonly mark: (tenant: string) => Promise<CoverageMark>
  readonly changed: (tenant: string, event: number) => Promise<string[] | null>
  /** All machines of a tenant, by name. */
  readonly all: (tenant: string) => Promise<RollRow[]>
  /** Those of them that are there. */
  readonly some: (tenant: string, machines: readonly string[]) => Promise<RollRow[]>
}

export class Rolls {
  readonly #looks: Looks
  readonly #rolls = new Map<string, Roll>()
  /** The newest look at all machines of a tenant that is under way. */
  readonly #under = new Map<string, { readonly mark: CoverageMark; readonly work: Promise<Roll> }>()

  constructor(looks: Looks) {
    this.#looks = looks
  }

  /** Keeps what somebody has just looked at; `mark` is of before that. */
  keep(tenant: string, roll: Roll): void {
    this.#rolls.delete(tenant)
    this.#rolls.set(tenant, roll)
    let rows = [...this.#rolls.values()].reduce((sum, { size }) => sum + size, 0)
    for (const [oldest, { size }] of this.#rolls) {
      if (rows <= ROLL_ROWS_MAX || oldest === tenant) break
      this.#rolls.delete(oldest)
      rows -= size
    }
  }

  /**
   * The roll of a tenant: what was told, planned or excluded until now is in it, what passing time alone changes with a delay of
   * at most ROLL_HARD_MS.
   */
  async of(tenant: string): Promise<Roll> {
    const mark = await this.#looks.mark(tenant)
    const known = this.#rolls.get(tenant)
    const ageMs = known === undefined ? Infinity : this.#looks.now() - known.atMs
    if (known === undefined || known.mark.whole !== mark.whole || ageMs < 0 || ageMs > ROLL_HARD_MS)
      return await this.#renew(tenant, mark)
    // whoever asks next has it; that it cannot be read, too
    if (ageMs > ROLL_SOFT_MS && !this.#under.has(tenant)) this.#renew(tenant, mark).catch(() => undefined)
    if (known.mark.event >= mark.event) return known
    const machines = await this.#looks.changed(tenant, known.mark.event)
    if (machines === null) return await this.#renew(tenant, mark)
    const roll = machines.length === 0 ? [] : await this.#looks.some(tenant, machines)
    const patched = known.with(roll, mark.event)
    // one that was renewed meanwhile is newer
    if (this.#rolls.get(tenant) === known) this.keep(tenant, patched)
    return patched
  }

  /** Looks at all machines; those who ask for the same share it. */
  #renew(tenant: string, mark: CoverageMark): Promise<Roll> {
    const under = this.#under.get(tenant)
    if (under?.mark.whole === mark.whole && under.mark.event >= mark.event) return under.work
    const atMs = this.#looks.now()
    const work = this.#looks
      .all(tenant)
      .then((rows) => {
        const roll = new Roll(mark, atMs, rows)
        this.keep(tenant, roll)
        return roll
      })
      .finally(() => {
        if (this.#under.get(tenant) === begun) this.#under.delete(tenant)
      })
    const begun = { mark, work }
    this.#under.set(tenant, begun)
    return work
  }
}
