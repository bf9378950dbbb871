// Events: what happens, in one order, for browsers and programs; and conditions, which hold until they are good again.
import * as v from 'valibot'
import { count, name, timeMs } from './schemas.ts'

/** Worst last. */
export const SEVERITIES = ['info', 'warning', 'error'] as const
export type Severity = (typeof SEVERITIES)[number]

/** Events that happen once. */
export const HAPPENINGS = [
  'job.started',
  'job.done',
  'job.failed',
  'point.added',
  'point.removed',
  'restore.done',
  'restore.failed',
  'full-read',
  'run.started',
  'run.ended',
  'agent.enrolled',
  'agent.online',
  'agent.offline',
  'plan.changed',
  'gateway.started',
  'gateway.crashed',
  /** So many events could not be written and are lost. */
  'events.lost',
] as const

/** Events that are changes of a condition: `active` while it holds; told once when it begins and once when it is good again. */
export const CONDITIONS = [
  /** The state of a machine (`coverage`): holds while it is another one than fresh, told anew with each other state. */
  'machine.state',
  'quota.soft',
  'quota.hard',
  'quota.forecast',
  'disk.reserve',
  'damage',
  'verify.stale',
  'lock.ending',
  'drill.failed',
  'agent.away',
  'certificate.ending',
  'token.ending',
  'clock.wrong',
  'audit.broken',
  'upkeep.failing',
] as const

export const EVENT_KINDS = [...HAPPENINGS, ...CONDITIONS] as const
export type EventKind = (typeof EVENT_KINDS)[number]
export type ConditionKind = (typeof CONDITIONS)[number]
export type HappeningKind = (typeof HAPPENINGS)[number]

/** Most fields of an event's data, and longest text of one and of its sentence, in characters. */
export const EVENT_FIELDS_MAX = 24
export const EVENT_CHARS_MAX = 1024

/** Longest data of an event as JSON, in characters; longer ones are left out. */
export const EVENT_DATA_CHARS_MAX = 4096

const text = v.pipe(v.string(), v.maxLength(EVENT_CHARS_MAX))

export const event = v.object({
  /** Its place among the tenant's events (or the platform's), which begin with 1. */
  seq: count,
  timeMs,
  kind: v.picklist(EVENT_KINDS),
  severity: v.picklist(SEVERITIES),
  /** Name of the tenant; null for the platform's. */
  tenant: v.nullable(name),
  machine: v.nullable(name),
  group: v.nullable(name),
  /** Of a condition: true where it begins or changes, false where it is good again; null for what happens once. */
  active: v.nullable(v.boolean()),
  /** Of a condition: what tells it from others of its kind, such as `machine.state db1`. */
  key: v.nullable(text),
  /** One sentence for people: what is so, and the way out. */
  text,
  data: v.record(v.string(), v.union([text, v.number(), v.boolean(), v.null()])),
})
export type Event = v.InferOutput<typeof event>
