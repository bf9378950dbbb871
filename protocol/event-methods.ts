// The methods about events: a tenant's (or, for the platform, its own) in their order, as a list and as a stream.
import * as v from 'valibot'
import { event, EVENT_KINDS } from './events.ts'
import { none, PEOPLE, plain, streamOf } from './method.ts'
import * as s from './schemas.ts'

/** Events of one message of a stream, at most. */
export const EVENTS_MESSAGE_MAX = 32

const WATCHERS = [...PEOPLE, 'platform'] as const

const narrowed = {
  /** Nil for all. */
  kinds: v.optional(
    v.nullable(v.pipe(v.array(v.picklist(EVENT_KINDS)), v.minLength(1), v.maxLength(EVENT_KINDS.length))),
    null,
  ),
  /** Nil for all; NOT_FOUND. */
  machine: v.optional(v.nullable(s.name), null),
}

export const EVENT_METHODS = {
  'events.list': {
    ...plain,
    roles: WATCHERS,
    params: v.object({ ...narrowed, ...s.page }),
    /** Newest first. */
    result: v.object({ events: s.rows(event), next: s.next }),
  },
  'events.watch': {
    ...plain,
    roles: WATCHERS,
    params: v.object({
      ...narrowed,
      /** The last sequence number that the caller has; nil for what comes from now on. */
      after: v.nullable(s.count),
    }),
    result: none,
    /** The first one comes at once, others when there are events. */
    down: streamOf(
      v.object({
        events: v.pipe(v.array(event), v.maxLength(EVENTS_MESSAGE_MAX)),
        /**
         * Where to resume: everything up to here was sent, or is not asked for. 0 where more was asked for than there is: the
         * gateway's catalog was built again, and numbers begin anew.
         */
        seq: s.count,
        /** Events up to this number were removed before they could be sent; nil where none were. */
        trimmedTo: v.nullable(s.count),
      }),
    ),
  },
} as const
