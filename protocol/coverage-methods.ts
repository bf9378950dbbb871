// The methods about coverage: whether each machine is protected, with the reason.
import * as v from 'valibot'
import { COVERAGE_DAYS_MAX, DAYS_PAGE_MAX, dayText, machineDays } from './coverage-days.ts'
import { COVERAGE_ORDERS, covered, coveredTenant, MACHINE_STATES, namePart, stateCounts } from './coverage.ts'
import { lastProof, quotaForecast } from './forecast.ts'
import { PEOPLE, plain, PLATFORM } from './method.ts'
import { planName } from './plans.ts'
import * as s from './schemas.ts'

/** Machines in these states; nil for all. */
const states = v.optional(
  v.nullable(v.pipe(v.array(v.picklist(MACHINE_STATES)), v.minLength(1), v.maxLength(MACHINE_STATES.length))),
  null,
)

/** Machines with this in their names, whatever its case; nil for all. */
const contains = v.optional(v.nullable(namePart), null)

export const COVERAGE_METHODS = {
  'coverage.list': {
    ...plain,
    roles: PEOPLE,
    params: v.object({
      states,
      /** Nil for all; NOT_FOUND. */
      machine: v.optional(v.nullable(s.name), null),
      /** Nil for all. */
      group: v.optional(v.nullable(s.name), null),
      plan: v.optional(v.nullable(planName), null),
      contains,
      order: v.optional(v.picklist(COVERAGE_ORDERS), 'name'),
      ...s.page,
    }),
    result: v.object({ machines: s.rows(covered), next: s.next }),
  },
  'coverage.days': {
    ...plain,
    roles: PEOPLE,
    params: v.object({
      days: v.pipe(s.count, v.minValue(1), v.maxValue(COVERAGE_DAYS_MAX)),
      /** The last day; nil for today. PARAMS_INVALID for one that no calendar has. */
      untilDay: v.optional(v.nullable(dayText), null),
      /** IANA name of the zone whose days they are; PARAMS_INVALID. */
      zone: v.optional(v.pipe(v.string(), v.maxLength(64)), 'UTC'),
      contains,
      states,
      order: v.optional(v.picklist(COVERAGE_ORDERS), 'name'),
      after: s.page.after,
      /** Rows at most; fewer come where there is more to read. */
      limit: v.optional(v.pipe(s.count, v.minValue(1), v.maxValue(DAYS_PAGE_MAX)), DAYS_PAGE_MAX),
    }),
    result: v.object({
      firstDay: dayText,
      /** When each day begins, and last when the last one ends: one more than days. */
      bounds: v.pipe(v.array(s.timeMs), v.maxLength(COVERAGE_DAYS_MAX + 1)),
      machines: v.pipe(v.array(machineDays), v.maxLength(DAYS_PAGE_MAX)),
      next: s.next,
    }),
  },
  'coverage.summary': {
    ...plain,
    roles: PEOPLE,
    params: v.object({}),
    result: v.object({
      counts: stateCounts,
      /** The machine with a plan whose newest point is the oldest; nil where none has one. */
      oldest: v.nullable(v.object({ machine: s.name, timeMs: s.timeMs })),
      quota: quotaForecast,
      proof: lastProof,
    }),
  },
  'coverage.tenants': {
    ...plain,
    roles: PLATFORM,
    params: v.object(s.page),
    /** By name. */
    result: v.object({ tenants: s.rows(coveredTenant), next: s.next }),
  },
} as const
