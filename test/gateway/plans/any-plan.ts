// Any plan that the schema allows, for properties.
import fc from 'fast-check'
import { CONSISTENCY_WISHES, LEFT_OUT_REASONS, READ_REASONS } from '../../../protocol/backup.ts'
import type { Plan } from '../../../protocol/plans.ts'

const name = fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._-]{0,20}$/u)
const names = fc.uniqueArray(
  name.filter((text) => text !== 'none'),
  { maxLength: 5 },
)
const keep = fc.integer({ min: 0, max: 100_000 })
const days = fc.oneof(fc.integer({ min: 0, max: 36_500 }), fc.double({ min: 0, max: 36_500, noNaN: true }))
const interval = fc.option(
  fc.oneof(fc.integer({ min: 1, max: 36_500 }), fc.double({ min: 0.05, max: 365, noNaN: true })),
)

export const anyPlan: fc.Arbitrary<Plan> = fc.record({
  name: fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$/u),
  enabled: fc.boolean(),
  schedule: fc.option(fc.constantFrom('0 1 * * *', '30 2 * * 1-5', 'every 4h', '*/15 * * * *')),
  rpoMs: fc.option(fc.integer({ min: 60_000, max: 366 * 24 * 3_600_000 })),
  timeZone: fc.constantFrom('UTC', 'Europe/Berlin', 'Asia/Kathmandu'),
  window: fc.option(fc.constantFrom('22:00-06:00', 'Sat-Sun; Mon-Fri 20:00-06:00')),
  jitterMs: fc.integer({ min: 0, max: 24 * 3_600_000 }),
  consistency: fc.constantFrom(...CONSISTENCY_WISHES),
  refuseFull: fc.uniqueArray(fc.constantFrom(...READ_REASONS)),
  refuseLeftOut: fc.uniqueArray(fc.constantFrom(...LEFT_OUT_REASONS)),
  compareDays: fc.option(fc.integer({ min: 1, max: 3650 })),
  keep: fc.record({
    last: keep,
    hourly: keep,
    daily: keep,
    weekly: keep,
    monthly: keep,
    yearly: keep,
    withinDays: days,
  }),
  lockDays: days,
  verifyDays: interval,
  drillDays: interval,
  priority: fc.integer({ min: 0, max: 100 }),
  covers: fc.record({
    machines: names,
    groups: names,
    patterns: fc.uniqueArray(fc.stringMatching(/^[A-Za-z0-9._*?-]{1,20}$/u), { maxLength: 5 }),
    others: fc.boolean(),
  }),
})

/** Plans of different names, by name. */
export const anyPlans = fc
  .uniqueArray(anyPlan, { selector: (plan) => plan.name, maxLength: 4 })
  .map((plans) => plans.toSorted((a, b) => (a.name < b.name ? -1 : 1)))
