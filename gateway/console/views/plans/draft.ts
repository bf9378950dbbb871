// A plan as a person writes it into a form, and the change that this is. Pure.
import type { ConsistencyWish, LeftOutReason, ReadReason } from '../../../../protocol/backup.ts'
import { KEEP_OFF, PLAN_RULES_DEFAULT, type KeepRules, type Plan, type PlanChange } from '../../../../protocol/plans.ts'
import { plans as texts } from '../../texts/plans.ts'

const HOUR_MS = 3_600_000
const MINUTE_MS = 60_000

/** Every field as text, but for those that are chosen, or on or off. */
export interface Draft {
  readonly name: string
  readonly enabled: boolean
  readonly schedule: string
  readonly rpo: string
  readonly timeZone: string
  readonly window: string
  readonly jitter: string
  readonly priority: string
  readonly lockDays: string
  readonly verifyDays: string
  readonly consistency: ConsistencyWish
  readonly compareDays: string
  readonly refuseFull: readonly ReadReason[]
  readonly refuseLeftOut: readonly LeftOutReason[]
  readonly keep: Readonly<Record<keyof KeepRules, string>>
  readonly machines: string
  readonly groups: string
  readonly patterns: string
  readonly others: boolean
}

export const KEEP_FIELDS = Object.keys(KEEP_OFF) as readonly (keyof KeepRules)[]

export const draftOf = (plan: Plan | null): Draft => {
  const rules = plan ?? PLAN_RULES_DEFAULT
  const { covers, keep } = rules
  return {
    name: plan?.name ?? '',
    enabled: rules.enabled,
    schedule: rules.schedule ?? '',
    rpo: rules.rpoMs === null ? '' : String(rules.rpoMs / HOUR_MS),
    timeZone: rules.timeZone,
    window: rules.window ?? '',
    jitter: String(rules.jitterMs / MINUTE_MS),
    priority: String(rules.priority),
    lockDays: String(rules.lockDays),
    verifyDays: rules.verifyDays === null ? '' : String(rules.verifyDays),
    consistency: rules.consistency,
    compareDays: rules.compareDays === null ? '' : String(rules.compareDays),
    refuseFull: rules.refuseFull,
    refuseLeftOut: rules.refuseLeftOut,
    keep: Object.fromEntries(KEEP_FIELDS.map((field) => [field, String(keep[field])])) as Draft['keep'],
    machines: covers.machines.join(', '),
    groups: covers.groups.join(', '),
    patterns: covers.patterns.join(', '),
    others: covers.others,
  }
}

/** A field that cannot be read, by the name that the form gives it. */
export class DraftError extends Error {
  readonly field: string

  constructor(field: string) {
    super(texts.edit.notNumber(field))
    this.field = field
  }
}

const numberOf = (text: string, field: string): number => {
  const value = Number(text.trim().replace(',', '.'))
  if (text.trim() === '' || !Number.isFinite(value)) throw new DraftError(field)
  return value
}

const orNull = (text: string, field: string): number | null => (text.trim() === '' ? null : numberOf(text, field))

const listOf = (text: string): string[] => [...new Set(text.split(/[\s,]+/u).filter((part) => part !== ''))]

const scaled = (value: number | null, unit: number): number | null => (value === null ? null : Math.round(value * unit))

/** A choice with one of its parts on or off; the others stay as they are. */
export const toggled = <T>(chosen: readonly T[], part: T): readonly T[] =>
  chosen.includes(part) ? chosen.filter((each) => each !== part) : [...chosen, part]

/** The rules of retention that a draft has; DraftError. */
export const keepOf = ({ keep }: Pick<Draft, 'keep'>): KeepRules =>
  Object.fromEntries(KEEP_FIELDS.map((field) => [field, numberOf(keep[field], texts.edit.keep[field])])) as KeepRules

/** The whole of what a draft says, and nothing of what the form does not have; DraftError. */
export const changeOf = (draft: Draft): PlanChange => {
  const { edit } = texts
  return {
    name: draft.name.trim(),
    enabled: draft.enabled,
    schedule: draft.schedule.trim() === '' ? null : draft.schedule.trim(),
    rpoMs: scaled(orNull(draft.rpo, edit.rpo), HOUR_MS),
    timeZone: draft.timeZone.trim(),
    window: draft.window.trim() === '' ? null : draft.window.trim(),
    jitterMs: scaled(numberOf(draft.jitter, edit.jitter), MINUTE_MS)!,
    priority: numberOf(draft.priority, edit.priority),
    lockDays: numberOf(draft.lockDays, edit.lockDays),
    verifyDays: orNull(draft.verifyDays, edit.verifyDays),
    consistency: draft.consistency,
    compareDays: orNull(draft.compareDays, edit.compareDays),
    refuseFull: [...draft.refuseFull],
    refuseLeftOut: [...draft.refuseLeftOut],
    keep: keepOf(draft),
    covers: {
      machines: listOf(draft.machines),
      groups: listOf(draft.groups),
      patterns: listOf(draft.patterns),
      others: draft.others,
    },
  }
}
