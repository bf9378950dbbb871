// How coverage is shown: a table of machines, worst first, and a tenant in one sentence.
import {
  MACHINE_STATES,
  STATES_WORST_FIRST,
  UNPROTECTED,
  type Covered,
  type MachineState,
  type StateCounts,
} from '../../protocol/coverage.ts'
import { durationText } from '../../protocol/host/duration.ts'
import { tableLines } from '../../protocol/host/table.ts'
import type { Result } from '../../protocol/methods.ts'
import { timeText } from './report-points.ts'

const HEADING = ['STATE', 'MACHINE', 'PLAN', 'AGE', 'DUE', 'NEXT (UTC)', 'WHY']

const ago = (ms: number | null, nowMs: number): string => (ms === null ? '-' : durationText(Math.max(0, nowMs - ms)))

const due = (ms: number | null, nowMs: number): string => {
  if (ms === null) return '-'
  return ms >= nowMs ? `in ${durationText(ms - nowMs)}` : `${durationText(nowMs - ms)} ago`
}

const cells = (one: Covered, nowMs: number): string[] => [
  one.state,
  one.machine,
  one.plan ?? '-',
  ago(one.lastPointMs, nowMs),
  due(one.deadlineMs, nowMs),
  timeText(one.nextMs),
  one.reason,
]

export const coverageLines = (machines: readonly Covered[], nowMs: number): string[] => {
  const rows = machines.toSorted((a, b) => STATES_WORST_FIRST.indexOf(a.state) - STATES_WORST_FIRST.indexOf(b.state))
  return tableLines(
    HEADING,
    rows.map((one) => cells(one, nowMs)),
  )
}

/** Machines in each state that has some, such as `9 fresh, 2 late`. */
const countsText = (counts: StateCounts): string =>
  MACHINE_STATES.filter((state) => counts[state] > 0)
    .map((state) => `${counts[state]} ${state}`)
    .join(', ')

export const machinesIn = (counts: StateCounts, states: readonly MachineState[] = MACHINE_STATES): number =>
  states.reduce((sum, state) => sum + counts[state], 0)

const quotaText = ({ hardBytes, soft, hard }: Result<'coverage.summary'>['quota']): string => {
  const { daysLeft } = hardBytes === null ? soft : hard
  return daysLeft === null ? '' : `; its quota is used up in ${daysLeft} ${daysLeft === 1 ? 'day' : 'days'}`
}

/** A tenant in one sentence. */
export const summaryLine = (tenant: string, summary: Result<'coverage.summary'>, nowMs: number): string => {
  const { counts, quota, proof } = summary
  const all = machinesIn(counts)
  if (all === 0) return `${tenant} has no machine yet.`
  const bad = machinesIn(counts, UNPROTECTED)
  const verdict = bad === 0 ? 'all that should be are protected' : `${bad} ${bad === 1 ? 'is' : 'are'} not protected`
  const proved = proof.verifiedMs === null ? 'never verified' : `verified last ${ago(proof.verifiedMs, nowMs)} ago`
  const machines = `${all} ${all === 1 ? 'machine' : 'machines'}`
  return `${tenant}: ${machines}: ${countsText(counts)}; ${verdict}; ${proved}${quotaText(quota)}.`
}

export const TENANT_HEADING = ['TENANT', 'MACHINES', 'NOT PROTECTED', 'STATES']

export const tenantCells = ({ tenant, counts }: Result<'coverage.tenants'>['tenants'][number]): string[] => [
  tenant,
  String(machinesIn(counts)),
  String(machinesIn(counts, UNPROTECTED)),
  countsText(counts) || '-',
]
