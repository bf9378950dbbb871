// What plans name that is not there (yet): allowed, and said. Pure.
import type { Plan } from '../../protocol/plans.ts'
import { fits, type CoveredMachine } from './covering.ts'

/** Sentences of one answer; what is beyond them is counted. */
export const UNMATCHED_MAX = 50

/** One sentence for each name, group and pattern of these plans that no machine has, joins or fits. */
export const unmatched = (plans: readonly Plan[], machines: readonly CoveredMachine[]): string[] => {
  const names = new Set(machines.map(({ name }) => name))
  const groups = new Set(machines.map(({ group }) => group))
  const sentences = plans.flatMap(({ name: plan, covers }) => [
    ...covers.machines
      .filter((name) => !names.has(name))
      .map((name) => `plan ${plan}: there is no machine "${name}" yet`),
    ...covers.groups
      .filter((name) => !groups.has(name))
      .map((name) => `plan ${plan}: no machine is in group "${name}" yet`),
    ...covers.patterns
      .filter((pattern) => !machines.some(({ name }) => fits(pattern, name)))
      .map((pattern) => `plan ${plan}: no machine fits "${pattern}" yet`),
  ])
  const more = sentences.length - UNMATCHED_MAX
  return more <= 0 ? sentences : [...sentences.slice(0, UNMATCHED_MAX), `and ${more} more of that kind`]
}
