// The methods about runs: what plans and upkeep have done, and what is due.
import * as v from 'valibot'
import { PEOPLE, plain } from './method.ts'
import { run, RUN_KINDS, RUN_STATES } from './runs.ts'
import * as s from './schemas.ts'

export const RUN_METHODS = {
  /** Newest first by when they were due; the platform's are those of no tenant. */
  'runs.list': {
    ...plain,
    roles: [...PEOPLE, 'platform'],
    params: v.object({
      ...s.page,
      machine: v.optional(v.nullable(s.name), null),
      kind: v.optional(v.nullable(v.picklist(RUN_KINDS)), null),
      state: v.optional(v.nullable(v.picklist(RUN_STATES)), null),
    }),
    result: v.object({ runs: s.rows(run), next: s.next }),
  },
} as const
