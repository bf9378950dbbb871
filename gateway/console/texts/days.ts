// The texts of the view Days, in English.
import type { SkipReason } from '../../../protocol/runs.ts'
import type { DayKind } from '../pictures/days.ts'

const counted = (count: number, one: string, many: string): string =>
  `${count.toLocaleString('en')} ${count === 1 ? one : many}`

export const days = {
  title: 'Days',
  caption: 'Machines and what was on each day, the newest day at the right; arrow keys go from day to day',
  machine: 'Machine',
  search: 'Part of a name',
  state: 'State now',
  states: 'All but excluded and archived',
  order: 'Order',
  orders: { worst: 'Worst first', name: 'By name' },
  span: 'Days',
  spans: { 14: 'two weeks', 31: 'a month', 92: 'a quarter' },
  until: 'Until',
  zone: (name: string) => `Days begin at midnight in ${name}.`,
  legend: 'What the marks say',
  kinds: {
    damaged: 'Damaged',
    failed: 'Failed, no point',
    mixed: 'Failed, and a point',
    skipped: 'Not started',
    full: 'Read in full, not asked for',
    verified: 'Backed up and verified',
    good: 'Backed up',
    nothing: 'No restore point',
  } satisfies Record<DayKind, string>,
  points: (count: number) => counted(count, 'restore point', 'restore points'),
  failed: (count: number) => counted(count, 'failed backup', 'failed backups'),
  skipped: (count: number, reason: SkipReason | null) =>
    `${counted(count, 'backup', 'backups')} not started${reason === null ? '' : `: ${days.skipReasons[reason]}`}`,
  damaged: (count: number) => `${counted(count, 'point has', 'points have')} damage`,
  verified: (count: number) => `${count.toLocaleString('en')} verified`,
  full: (reason: string) => `read in full: ${reason}`,
  skipReasons: {
    missed: 'the gateway was not running',
    fresh: 'a newer point was there',
    window: 'its window closed first',
    excluded: 'the machine was excluded',
    disabled: 'its plan was turned off',
    moved: 'it moved to another plan',
    gone: 'its agent or the machine was gone',
    superseded: 'the next one came first',
    nothing: 'there was nothing to do',
  } satisfies Record<SkipReason, string>,
  panel: (machine: string, day: string) => `${machine} on ${day}`,
  allPoints: 'All points of this machine',
  cut: (looked: string) =>
    `The newest ${looked} points of this machine were looked through; older ones of this day are not listed here.`,
  noPoints: 'No restore point of this day is there (any more).',
  close: 'Close',
  pointColumns: { time: 'Time', kind: 'Kind', reason: 'Reason', read: 'Read', took: 'Took', verified: 'Verified' },
  notVerified: 'not yet',
  empty: 'No machine is like that',
  showAll: 'Show all machines',
  noMachine: 'No machine is backed up here yet',
  toProtection: 'See what to do first',
} as const
