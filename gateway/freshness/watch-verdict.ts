// What a look at one thing says: that a condition holds, or that it is good again; and what of it is news.
import type { ConditionKind, Event, Severity } from '../../protocol/events.ts'
import type { ConditionChange } from '../catalog/events.ts'

/** What tells one condition from all others. */
export interface Subject {
  readonly kind: ConditionKind
  /** Uuid of the tenant; null for the platform's. */
  readonly tenant: string | null
  /** Of all conditions of the tenant, such as `agent.away` and the agent's id. */
  readonly key: string
  readonly machine: string | null
}

/** What holds of a subject. */
export interface Holding {
  readonly severity: Severity
  /** A further event is told only where this changes; steady while nothing happens that a person wants to hear of. */
  readonly value: string
  /** One sentence: what is so, and the way out. */
  readonly text: string
  readonly data: Event['data']
}

/** `holding` null: it is good, and `good` says so in one sentence. */
export interface Verdict extends Subject {
  readonly holding: Holding | null
  readonly good: string
}

/** A condition that holds by the catalog. */
export interface Held extends Subject {
  readonly value: string
}

/** The value of a condition that holds; null where none does. */
export type Before = (tenant: string | null, key: string) => string | null

const placeOf = (tenant: string | null, key: string): string => `${tenant ?? ''} ${key}`

export const beforeOf = (held: readonly Held[]): Before => {
  const values = new Map(held.map(({ tenant, key, value }) => [placeOf(tenant, key), value]))
  return (tenant, key) => values.get(placeOf(tenant, key)) ?? null
}

/** What one look says. */
export interface Looked {
  readonly verdicts: readonly Verdict[]
  /** Whether nobody could look at what a condition is about now: it stays as it is. */
  readonly unseen?: (held: Held) => boolean
}

/**
 * What of the verdicts is news against what holds of the kinds that were looked at. What no verdict speaks of is over, as its
 * subject is gone.
 */
export const newsOf = (held: readonly Held[], { verdicts, unseen = () => false }: Looked): ConditionChange[] => {
  const before = beforeOf(held)
  const spokenOf = new Set(verdicts.map(({ tenant, key }) => placeOf(tenant, key)))
  const told = verdicts.flatMap(({ holding, good, ...subject }): ConditionChange[] => {
    const value = before(subject.tenant, subject.key)
    if (holding !== null) return value === holding.value ? [] : [{ ...subject, holds: true, ...holding }]
    return value === null ? [] : [{ ...subject, holds: false, text: good, data: {} }]
  })
  const gone = held
    .filter((one) => !spokenOf.has(placeOf(one.tenant, one.key)) && !unseen(one))
    .map(({ kind, tenant, key, machine }): ConditionChange => {
      const text = `${key}: this is over, as what it was about is not there any more`
      return { kind, tenant, key, machine, holds: false, text, data: {} }
    })
  return [...told, ...gone]
}

/** The step whose limit a falling figure is below, from the widest to the nearest; null above all. */
export interface Step<V extends string = string> {
  readonly below: number
  readonly value: V
}

/**
 * Which step a figure that falls has reached. A step that was reached is left only once the figure is `slack` times above its
 * limit, so that one that swings about a limit is told once.
 */
export const stepOf = <S extends Step>(
  figure: number,
  steps: readonly S[],
  { before, slack }: { readonly before: string | null; readonly slack: number },
): S | null => {
  const reached = steps.findLastIndex(({ below }) => figure < below)
  const held = steps.findIndex(({ value }) => value === before)
  for (let index = held; index > reached; index--) if (figure < steps[index]!.below * slack) return steps[index]!
  return steps[reached] ?? null
}

/** Days for people: `less than a day`, `1 day`, `12 days`. */
export const daysText = (days: number): string => {
  const whole = Math.floor(days)
  return whole < 1 ? 'less than a day' : whole === 1 ? '1 day' : `${whole} days`
}
