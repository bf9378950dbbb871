// Plans and what changes of them as lines for people.
import type { KeepRules, Plan, PlanDifference } from '../../protocol/plans.ts'
import { exactDuration } from '../plans/duration.ts'
import { isOff } from '../maintenance/retention.ts'
import { keyOfField } from './plan-file.ts'

/** Names of a list that one line has. */
const NAMED_MAX = 8

const plural = (count: number, word: string): string => `${count} ${word}${count === 1 ? '' : 's'}`

const listed = (names: readonly string[]): string => {
  const more = names.length > NAMED_MAX ? ` and ${names.length - NAMED_MAX} more` : ''
  return names.slice(0, NAMED_MAX).join(', ') + more
}

/** When a plan starts backups. */
export const whenText = ({ enabled, schedule, rpoMs, timeZone }: Plan): string => {
  if (!enabled) return 'disabled'
  const fresh = rpoMs === null ? [] : [`fresh within ${exactDuration(rpoMs)}`]
  const slots = schedule === null ? [] : [`${schedule} (${timeZone})`]
  return [...slots, ...fresh].join(', ') || 'by hand only'
}

export const keepText = (keep: KeepRules): string => {
  if (isOff(keep)) return 'everything'
  const { withinDays, ...counts } = keep
  const units = Object.entries(counts).filter(([, count]) => count > 0)
  const within = withinDays > 0 ? [`within ${plural(withinDays, 'day')}`] : []
  return [...units.map(([unit, count]) => `${unit} ${count}`), ...within].join(', ')
}

export const coversText = ({ covers: { machines, groups, patterns, others } }: Plan): string => {
  const parts = [
    ...(machines.length === 0 ? [] : [listed(machines)]),
    ...(groups.length === 0 ? [] : [`groups ${listed(groups)}`]),
    ...(patterns.length === 0 ? [] : [`names like ${listed(patterns)}`]),
    ...(others ? ['all others'] : []),
  ]
  return parts.join('; ') || 'nothing'
}

export const PLANS_HEADING = ['PLAN', 'WHEN', 'KEEPS', 'LOCKS', 'COVERS']

export const planCells = (plan: Plan): string[] => [
  plan.name,
  whenText(plan),
  keepText(plan.keep),
  plan.lockDays === 0 ? '-' : plural(plan.lockDays, 'day'),
  coversText(plan),
]

const often = (days: number | null): string => (days === null ? 'never' : `every ${plural(days, 'day')}`)

/** Width of what names a line of a plan. */
const NAME_CHARS = 28

/** All of one plan. */
export const planLines = (plan: Plan): string[] => [
  `${plan.name}: ${whenText(plan)}`,
  ...(
    [
      ['covers', coversText(plan)],
      ['window', plan.window === null ? 'always' : `${plan.window} (${plan.timeZone})`],
      ['jitter', plan.jitterMs === 0 ? 'none' : exactDuration(plan.jitterMs)],
      ['keeps', `${keepText(plan.keep)} (${plan.timeZone})`],
      ['locks new points', plan.lockDays === 0 ? 'no' : `for ${plural(plan.lockDays, 'day')}`],
      ['consistency', plan.consistency],
      ['full reads refused for', listed(plan.refuseFull) || 'no reason'],
      ['left-out disks refused for', listed(plan.refuseLeftOut) || 'no reason'],
      ['compared whole', often(plan.compareDays)],
      ['verified', often(plan.verifyDays)],
      ['restore drill', often(plan.drillDays)],
      ['priority', String(plan.priority)],
    ] as const
  ).map(([name, value]) => `  ${name.padEnd(NAME_CHARS)}${value}`),
]

const SIGN = { added: '+', changed: '~', removed: '-' } as const

const fieldLine = ({ field, before, after }: PlanDifference['fields'][number]): string => {
  const list = field.startsWith('covers.') && field !== 'covers.others'
  if (list || field === 'refuseFull' || field === 'refuseLeftOut') {
    const parts = [...(before === null ? [] : [`-${before}`]), ...(after === null ? [] : [`+${after}`])]
    return `    ${keyOfField(field)}: ${parts.join('  ')}`
  }
  return `    ${keyOfField(field)}: ${before ?? 'none'} -> ${after ?? 'none'}`
}

/** What changes, plan by plan and field by field, by the keys of the file. */
export const differenceLines = (changes: readonly PlanDifference[]): string[] =>
  changes.flatMap(({ plan, change, fields }) => [`${SIGN[change]} plan ${plan}`, ...fields.map(fieldLine)])
