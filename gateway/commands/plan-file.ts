// Plans as a TOML file: read strictly, written so that the same plans are read back.
import { stringify } from 'smol-toml'
import * as v from 'valibot'
import { VarveError } from '../../protocol/errors.ts'
import { parseToml } from '../../protocol/host/toml-file.ts'
import {
  covers,
  keepRules,
  PLAN_RULES_DEFAULT,
  planName,
  planRules,
  type Plan,
  type PlanChange,
  type PlanRules,
} from '../../protocol/plans.ts'
import { exactDuration, exactDurationMs } from '../plans/duration.ts'

const duration = v.pipe(
  v.string(),
  v.check((text) => exactDurationMs(text) !== null, 'a duration such as 90s, 15m, 4h or 7d'),
)

const { machines, groups, patterns, others } = covers.entries
const { withinDays, ...counts } = keepRules.entries

/** Keys that hold the value of one field as it is, with the field. */
const PLAIN = {
  enabled: 'enabled',
  schedule: 'schedule',
  time_zone: 'timeZone',
  window: 'window',
  consistency: 'consistency',
  refuse_full: 'refuseFull',
  refuse_left_out: 'refuseLeftOut',
  compare_days: 'compareDays',
  lock_days: 'lockDays',
  verify_days: 'verifyDays',
  drill_days: 'drillDays',
  priority: 'priority',
} as const satisfies Readonly<Record<string, keyof PlanRules>>

const plain = Object.fromEntries(
  Object.entries(PLAIN).map(([key, field]) => [key, v.optional(planRules.entries[field] as v.GenericSchema)]),
)

/** The key that the file has for a field of a plan, such as `keep.within_days`. */
export const keyOfField = (field: string): string => {
  if (field === 'rpoMs') return 'rpo'
  if (field === 'jitterMs') return 'jitter'
  if (field === 'keep.withinDays') return 'keep.within_days'
  return Object.entries(PLAIN).find(([, named]) => named === field)?.[0] ?? field
}

/** A duration within the bounds of a field. */
const durationOf = (field: 'rpoMs' | 'jitterMs', bounds: string) =>
  v.pipe(
    duration,
    v.check((text) => v.safeParse(planRules.entries[field], exactDurationMs(text)).success, bounds),
  )

/** One table of the file. What it does not say is as in the default. */
const tableSchema = v.strictObject({
  ...plain,
  rpo: v.optional(durationOf('rpoMs', 'a duration from 1m to 366d')),
  jitter: v.optional(durationOf('jitterMs', 'a duration of at most 24h')),
  keep: v.optional(v.strictObject(v.partial(v.object({ ...counts, within_days: withinDays })).entries)),
  covers: v.optional(v.strictObject(v.partial(v.object({ machines, groups, patterns, others })).entries)),
})

const fileSchema = v.strictObject({ plans: v.optional(v.record(v.string(), tableSchema), {}) })

type Table = v.InferOutput<typeof tableSchema>

const changeOf = (name: string, table: Table): PlanChange => {
  const given = table as Table & Readonly<Record<string, unknown>>
  const said = Object.entries(PLAIN).filter(([key]) => given[key] !== undefined)
  const { rpo, jitter, keep, covers: covered } = table
  return {
    name,
    ...Object.fromEntries(said.map(([key, field]) => [field, given[key]])),
    ...(rpo === undefined ? {} : { rpoMs: exactDurationMs(rpo) }),
    ...(jitter === undefined ? {} : { jitterMs: exactDurationMs(jitter) ?? 0 }),
    ...(keep === undefined ? {} : { keep: keptOf(keep) }),
    ...(covered === undefined ? {} : { covers: covered }),
  }
}

const keptOf = ({ within_days: within, ...counts }: NonNullable<Table['keep']>): PlanChange['keep'] => ({
  ...counts,
  ...(within === undefined ? {} : { withinDays: within }),
})

/** The plans of a file's text; CONFIG_INVALID, with `file` in the sentence. */
export const plansOfText = (text: string, file: string): PlanChange[] => {
  const { plans } = parseToml(file, text, fileSchema)
  return Object.entries(plans).map(([name, table]) => {
    if (!v.safeParse(planName, name).success)
      throw new VarveError(
        'CONFIG_INVALID',
        `${file}: "${name.slice(0, 80)}" is not a name of a plan: letters, digits, dot, dash and underscore, at most 80`,
      )
    return changeOf(name, table)
  })
}

/** The parts of a record that are not as in the default. */
const differing = <T extends object>(value: T, normal: T): Partial<T> =>
  Object.fromEntries(
    Object.entries(value).filter(
      ([field, one]) => JSON.stringify(one) !== JSON.stringify((normal as Readonly<Record<string, unknown>>)[field]),
    ),
  ) as Partial<T>

const tableOf = ({ name: _, keep, covers: covered, rpoMs, jitterMs, ...rules }: Plan): object => {
  const keys = new Map<string, string>(Object.entries(PLAIN).map(([key, field]) => [field, key]))
  const said = Object.entries(differing(rules, PLAN_RULES_DEFAULT as typeof rules)).filter(
    ([, value]) => value !== null,
  )
  const { withinDays: within, ...kept } = differing(keep, PLAN_RULES_DEFAULT.keep)
  const keepTable = { ...kept, ...(within === undefined ? {} : { within_days: within }) }
  const coversTable = differing(covered, PLAN_RULES_DEFAULT.covers)
  return {
    ...Object.fromEntries(said.map(([field, value]) => [keys.get(field)!, value])),
    ...(rpoMs === null ? {} : { rpo: exactDuration(rpoMs) }),
    ...(jitterMs === 0 ? {} : { jitter: exactDuration(jitterMs) }),
    ...(Object.keys(keepTable).length === 0 ? {} : { keep: keepTable }),
    ...(Object.keys(coversTable).length === 0 ? {} : { covers: coversTable }),
  }
}

/** The text of these plans: what is as in the default is left out. */
export const textOfPlans = (plans: readonly Plan[]): string =>
  plans.length === 0
    ? ''
    : `${stringify({ plans: Object.fromEntries(plans.map((plan) => [plan.name, tableOf(plan)])) })}\n`.replace(
        /\n+$/u,
        '\n',
      )
