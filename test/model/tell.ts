// The story of a life in lines for people.
import type { Fact, Op } from './plan.ts'

/** A piece of work. */
export const tellOp = (op: Op): string => {
  if (op.op !== 'backup') return JSON.stringify(op)
  const { machine, full, disks, cut } = op
  return `backup ${machine}${full ? ' full' : ''} of ${disks.map(({ chunks }) => chunks.length).join('+')} chunks${cut === null ? '' : `, cut at ${cut.at} to ${cut.after}`}`
}

/** Whether a fact is part of the story. */
const isNews = ({ fact }: Fact): boolean =>
  !['synced', 'removing', 'removed', 'restored', 'audit', 'doing'].includes(fact)

const tellFact = (fact: Fact): string => {
  if (fact.fact === 'started') return `started ${fact.job} of ${fact.machine}`
  if (fact.fact === 'listed') return `${fact.tenant} has ${fact.points.map(({ id }) => id.slice(0, 8)).join(' ')}`
  if (fact.fact === 'done')
    return `done ${fact.op.op} ${fact.points.join(' ')} ${JSON.stringify(fact.report)?.slice(0, 2000)}`
  return JSON.stringify(fact)
}

/** What a life said, without what fills pages. */
export const tellFacts = (facts: readonly Fact[]): string => facts.filter(isNews).map(tellFact).join('; ')
