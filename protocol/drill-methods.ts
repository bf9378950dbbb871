// The methods of drills: what came of starting a copy of a machine from a restore point, told and shown.
import * as v from 'valibot'
import { drill, drillLog, drillOutcome, drillPicture } from './drills.ts'
import { audited, none, plain, READERS, STARTERS } from './method.ts'
import * as s from './schemas.ts'

export const DRILL_METHODS = {
  /** Keeps what a drill found with its point, in place of the oldest of DRILLS_KEPT_MAX; the same id again does nothing. */
  'drills.add': {
    ...audited,
    roles: STARTERS,
    params: v.object({
      /** Chosen by who made it, so that it is told once after a break too. */
      drill: s.uuid,
      point: s.uuid,
      outcome: drillOutcome,
      log: drillLog,
      picture: drillPicture,
    }),
    result: none,
  },
  /** Newest first. */
  'drills.list': {
    ...plain,
    roles: READERS,
    params: v.object({
      machine: v.optional(v.nullable(s.name), null),
      point: v.optional(v.nullable(s.idPrefix), null),
      ...s.page,
    }),
    result: v.object({ drills: s.rows(drill), next: s.next }),
  },
  'drills.get': {
    ...plain,
    roles: READERS,
    params: v.object({ drill: s.uuid }),
    /** The picture is a PNG that the gateway looked at. */
    result: v.object({ drill, log: drillLog, picture: drillPicture }),
  },
} as const
