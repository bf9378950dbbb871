// An event as the catalog gives it, for tests.
import type { EventRow } from '../../../gateway/catalog/events.ts'

export const eventRow = (changes: Partial<EventRow>): EventRow => ({
  seq: 1,
  number: 1,
  timeMs: 10_000,
  kind: 'job.done',
  severity: 'info',
  tenant: 't-acme',
  tenantName: 'acme',
  machine: 'db1',
  group: null,
  active: null,
  key: null,
  text: 'it happened',
  data: {},
  ...changes,
})
