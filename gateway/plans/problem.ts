// What is wrong with plans, in sentences: of one by itself, and of the plans of a tenant together. Pure.
import { scheduleProblem } from './next-run.ts'
import { windowProblem } from './window.ts'
import { PATTERNS_MAX, PLANS_MAX, type Plan } from '../../protocol/plans.ts'

/** What is wrong with one plan; null for nothing. */
export const planProblem = ({ name, covers, schedule, window, timeZone }: Plan): string | null => {
  const twice = (what: string, names: readonly string[]): string | null => {
    const seen = new Set<string>()
    const again = names.find((one) => seen.size === seen.add(one).size)
    return again === undefined ? null : `plan ${name}: ${what} "${again}" is listed twice`
  }
  const time =
    (schedule === null ? null : scheduleProblem(schedule, timeZone)) ?? (window === null ? null : windowProblem(window))
  if (time !== null) return `plan ${name}: ${time}`
  return twice('machine', covers.machines) ?? twice('group', covers.groups) ?? twice('pattern', covers.patterns)
}

type Named = 'machines' | 'groups' | 'patterns'

const ONE: Readonly<Record<Named, string>> = { machines: 'machine', groups: 'group', patterns: 'pattern' }

/** What two plans both cover; null for nothing. */
const overlap = (plans: readonly Plan[], field: Named): string | null => {
  const holders = new Map<string, string>()
  for (const { name, covers } of plans)
    for (const one of covers[field]) {
      const holder = holders.get(one)
      if (holder !== undefined && holder !== name)
        return `${ONE[field]} "${one}" is listed twice, in plans ${holder} and ${name}: take it out of one of them`
      holders.set(one, name)
    }
  return null
}

const others = (plans: readonly Plan[]): string | null => {
  const [first, second] = plans.filter(({ covers }) => covers.others).map(({ name }) => name)
  return first === undefined || second === undefined
    ? null
    : `plans ${first} and ${second} both cover all other machines: only one can`
}

/** What is wrong with the plans of a tenant together; null for nothing. */
export const plansProblem = (plans: readonly Plan[]): string | null =>
  overlap(plans, 'machines') ?? overlap(plans, 'groups') ?? overlap(plans, 'patterns') ?? others(plans)

const patterns = (plans: readonly Plan[]): number => plans.reduce((sum, { covers }) => sum + covers.patterns.length, 0)

/** Which bound these plans of a tenant are past; null for none. */
export const plansLimit = (plans: readonly Plan[]): string | null => {
  if (plans.length > PLANS_MAX) return `a tenant has at most ${PLANS_MAX} plans`
  if (patterns(plans) > PATTERNS_MAX) return `the plans of a tenant have at most ${PATTERNS_MAX} patterns`
  return null
}
