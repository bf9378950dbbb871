// The texts of the view Protection, in English.
import type { MachineState } from '../../../protocol/coverage.ts'

const machines = (count: number): string => `${count.toLocaleString('en')} ${count === 1 ? 'machine' : 'machines'}`

export const protection = {
  title: 'Protection',
  caption: 'Machines and whether they are protected',
  verdict: {
    good: (expected: number) =>
      expected === 1 ? 'The machine is protected.' : `All ${machines(expected)} are protected.`,
    bad: (unprotected: number, expected: number) =>
      `${unprotected.toLocaleString('en')} of ${machines(expected)} ${unprotected === 1 ? 'is' : 'are'} not protected.`,
    none: 'No machine is meant to be backed up: all are excluded or archived.',
  },
  expected: 'All expected',
  unprotected: 'Not protected',
  filters: 'Show only',
  apart: 'Nothing expected',
  states: {
    fresh: 'Fresh',
    unverified: 'Unverified',
    late: 'Late',
    failing: 'Failing',
    never: 'Never backed up',
    uncovered: 'No plan',
    orphaned: 'Orphaned',
    archived: 'Archived',
    excluded: 'Excluded',
  } satisfies Record<MachineState, string>,
  search: 'Part of a name',
  order: 'Order',
  orders: { worst: 'Worst first', name: 'By name' },
  columns: {
    machine: 'Machine',
    state: 'State and reason',
    age: 'Age and target',
    last: 'Last backup',
    next: 'Next backup',
    reason: 'Excluded because',
    by: 'By',
    until: 'Until',
  },
  age: {
    label: (age: string, target: string) => `${age} old, ${target} allowed`,
    none: 'no point yet',
    firstDue: (wait: string) => `first due ${wait}`,
    old: (age: string) => `${age} old`,
  },
  last: {
    size: (size: string, duration: string) => `${size} in ${duration}`,
    full: (reason: string) => `full read: ${reason}`,
    increment: 'increment',
    detail: (read: string, sent: string) => `${read} read, ${sent} sent`,
  },
  next: { none: 'none planned', now: 'due now' },
  noPlan: 'no plan',
  offline: 'agent away',
  noEnd: 'until included again',
  choose: (machine: string) => `Choose ${machine}`,
  chooseAll: 'Choose all that are loaded',
  chosen: (count: number) => `${machines(count)} chosen`,
  actions: 'With those that are chosen',
  allMatching: (count: number | null) => (count === null ? 'Choose all that match' : `Choose all ${machines(count)}`),
  clear: 'Choose none',
  backup: {
    action: 'Back up now',
    title: (count: number) => `Back up ${machines(count)} now`,
    body: (names: string, rest: number) =>
      `A backup of ${names}${rest > 0 ? ` and ${machines(rest)} more` : ''} starts now, or as soon as there is a place.`,
  },
  exclude: {
    action: 'Exclude',
    title: (count: number) => `Exclude ${machines(count)}`,
    body: (names: string, rest: number) =>
      `No plan backs up ${names}${rest > 0 ? ` and ${machines(rest)} more` : ''} any more, and nobody is warned, until then. What is there is kept by its rules.`,
    reason: 'Why',
    reasonHint: 'Whoever looks next reads this.',
    until: 'Until',
    choices: { day: 'for a day', week: 'for a week', month: 'for 30 days', never: 'until included again' },
  },
  include: {
    action: 'Include',
    title: (count: number) => `Include ${machines(count)} again`,
    body: (names: string, rest: number) =>
      `Plans cover ${names}${rest > 0 ? ` and ${machines(rest)} more` : ''} again, from now on.`,
  },
  many: {
    running: (done: number, count: number) => `${done} of ${machines(count)}…`,
    done: (count: number) => `${machines(count)}: done.`,
    refused: (refused: number, count: number) => `${refused} of ${machines(count)} refused:`,
    more: (count: number) => `and ${machines(count)} more`,
  },
  empty: {
    title: 'No machine is backed up here yet',
    first: 'Make a one-time token for the host of a machine, where the gateway runs:',
    command: (tenant: string) => `varve-gateway enrol --tenant ${tenant}`,
    second: 'On that host, let the agent enrol with it, and see which machines there are:',
    commands: (gateway: string) => `varve-agent enrol --gateway ${gateway} --token -\nvarve-agent discover`,
    third: 'Once the agent runs, its machines are here, and plans back them up by themselves.',
  },
  putAway: 'Dismiss',
  noMatch: 'No machine is like that',
  showAll: 'Show all machines',
} as const
