// The methods about coverage: whether each machine is protected, with the reason.
import * as v from 'valibot'
import { covered, coveredTenant, MACHINE_STATES, stateCounts } from './coverage.ts'
import { lastProof, quotaForecast } from './forecast.ts'
import { PEOPLE, plain, PLATFORM } from './method.ts'
import { planName } from './plans.ts'
import * as s from './schemas.ts'

export const COVERAGE_METHODS = {
  'coverage.list': {
    ...plain,
    roles: PEOPLE,
    params: v.object({
      /** Nil for all. */
      states: v.optional(
        v.nullable(v.pipe(v.array(v.picklist(MACHINE_STATES)), v.minLength(1), v.maxLength(MACHINE_STATES.length))),
        null,
      ),
      /** Nil for all; NOT_FOUND. */
      machine: v.optional(v.nullable(s.name), null),
      /** Nil for all. */
      group: v.optional(v.nullable(s.name), null),
      plan: v.optional(v.nullable(planName), null),
      ...s.page,
    }),
    /** By name. */
    result: v.object({ machines: s.rows(covered), next: s.next }),
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
