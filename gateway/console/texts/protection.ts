// The texts of the view Protection, in English.
import type { MachineState } from '../../../protocol/coverage.ts'

export const protection = {
  title: 'Protection',
  caption: 'Machines and whether they are protected',
  all: 'All',
  states: {
    fresh: 'Fresh',
    unverified: 'Unverified',
    late: 'Late',
    failing: 'Failing',
    never: 'Never',
    orphaned: 'Orphaned',
    archived: 'Archived',
    excluded: 'Excluded',
  } satisfies Record<MachineState, string>,
  search: 'Part of a name',
  columns: {
    machine: 'Machine',
    state: 'State',
    last: 'Last point',
    next: 'Next backup',
    plan: 'Plan',
    host: 'Host',
  },
  empty: {
    title: 'No machine is backed up here yet',
    first: 'Enrol the host of a machine, and name the machine in its agent’s configuration:',
    command: 'varve-agent enrol --gateway wss://GATEWAY:8470 --token-file TOKEN',
  },
  noMatch: 'No machine is like that',
  showAll: 'Show all machines',
} as const
