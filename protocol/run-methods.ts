// The methods about runs: what plans and upkeep have done, and what is due.
import * as v from 'valibot'
import { PEOPLE, plain } from './method.ts'
import { run, RUN_KINDS, RUN_STATES } from './runs.ts'
import * as s from './schemas.ts'

export const RUN_METHODS = {
  /**
   * By when they were due, newest first; with the state `due` the one that was due first comes first. The platform's are those of
   * no tenant.
   */
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
