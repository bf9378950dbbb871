// The texts of the view Events, in English.
import type { Severity } from '../../../protocol/events.ts'

export const events = {
  title: 'Events',
  kind: 'Kind',
  allKinds: 'All kinds',
  machine: 'Machine',
  machineHint: 'its whole name',
  show: 'Show',
  caption: 'Events, the newest first',
  columns: { when: 'When', what: 'What', kind: 'Kind', machine: 'Machine' },
  severities: { info: 'Info', warning: 'Warning', error: 'Error' } satisfies Record<Severity, string>,
  over: 'Good again',
  empty: 'Nothing has happened yet',
  emptySays: 'Backups, agents that come and go, and states that change are told here, as they happen.',
  noMatch: 'No event is of this kind and machine',
  showAll: 'Show all',
} as const
