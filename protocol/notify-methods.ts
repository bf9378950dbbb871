// The methods about notifications: targets, rules, mutes, the outbox, and the ping that says that the gateway lives.
import * as v from 'valibot'
import { audited, plain } from './method.ts'
import * as n from './notify.ts'
import * as s from './schemas.ts'

/** The platform's targets and rules are of what belongs to no tenant. */
const LOOKERS = ['owner', 'operator', 'auditor', 'platform'] as const
const CHANGERS = ['owner', 'platform'] as const
const WORKERS = ['owner', 'operator', 'platform'] as const
const PLATFORM = ['platform'] as const

const ping = v.object({
  /** Scheme, host and port; the rest of the URL is a secret. */
  origin: v.string(),
  everyMs: s.count,
  /** When it was answered last; null for never. */
  answeredMs: v.nullable(s.timeMs),
  /** Why it failed the last time; null where it did not. */
  error: v.nullable(v.string()),
})

export const NOTIFY_METHODS = {
  'notify.targets': {
    ...plain,
    roles: LOOKERS,
    params: v.object({}),
    result: v.object({ targets: v.pipe(v.array(n.target), v.maxLength(n.TARGETS_MAX)) }),
  },
  'notify.setTarget': {
    ...audited,
    roles: CHANGERS,
    params: v.object({
      target: s.name,
      settings: n.targetSettings,
      /** Absent ones stay as they were, unless the target goes to another host; nil removes one. */
      secrets: v.optional(n.targetSecrets, {}),
      hourly: v.optional(n.hourly, n.HOURLY_DEFAULT),
      /** A new target gets a rule of its name: everything of severity warning and worse but `job.failed`, which a state tells. */
      rule: v.optional(v.boolean(), true),
    }),
    result: v.object({ target: n.target, added: v.boolean() }),
  },
  'notify.removeTarget': {
    ...audited,
    roles: CHANGERS,
    params: v.object({ target: s.name }),
    /** Rules that went with it, as they had no other target. */
    result: v.object({ rules: v.array(s.name) }),
  },
  'notify.test': {
    ...audited,
    roles: WORKERS,
    params: v.object({ target: s.name }),
    result: v.object({
      sent: v.boolean(),
      /** What the server answered, or why nothing reached it. */
      answer: v.string(),
      durationMs: s.count,
    }),
  },
  'notify.rules': {
    ...plain,
    roles: LOOKERS,
    params: v.object({}),
    result: v.object({ rules: v.pipe(v.array(n.rule), v.maxLength(n.RULES_MAX)) }),
  },
  'notify.setRule': {
    ...audited,
    roles: CHANGERS,
    params: v.object({ rule: s.name, ...v.omit(n.rule, ['name']).entries }),
    result: v.object({ added: v.boolean() }),
  },
  'notify.removeRule': {
    ...audited,
    roles: CHANGERS,
    params: v.object({ rule: s.name }),
    result: v.object({}),
  },
  'notify.mutes': {
    ...plain,
    roles: LOOKERS,
    params: v.object({}),
    result: v.object({ mutes: v.pipe(v.array(n.mute), v.maxLength(n.MUTES_MAX)) }),
  },
  'notify.mute': {
    ...audited,
    roles: WORKERS,
    params: v.object({ match: n.match, reason: n.muteReason, untilMs: s.timeMs }),
    result: v.object({ mute: n.mute }),
  },
  'notify.unmute': {
    ...audited,
    roles: WORKERS,
    params: v.object({ mute: s.uuid }),
    result: v.object({}),
  },
  'notify.outbox': {
    ...plain,
    roles: LOOKERS,
    params: v.object({ state: v.optional(v.nullable(v.picklist(n.NOTICE_STATES)), null), ...s.page }),
    /** The newest first. */
    result: v.object({ notices: s.rows(n.notice), next: s.next }),
  },
  'notify.retry': {
    ...audited,
    roles: CHANGERS,
    params: v.object({ notice: s.uuid }),
    result: v.object({}),
  },
  'notify.drop': {
    ...audited,
    roles: CHANGERS,
    params: v.object({ notice: s.uuid }),
    result: v.object({}),
  },
  'notify.digest': {
    ...audited,
    roles: CHANGERS,
    params: v.object({ target: s.name }),
    /** It is in the outbox. */
    result: v.object({ notice: s.uuid, holding: s.count }),
  },
  'notify.ping': {
    ...plain,
    roles: PLATFORM,
    params: v.object({}),
    result: v.object({ ping: v.nullable(ping) }),
  },
  'notify.setPing': {
    ...audited,
    roles: PLATFORM,
    params: v.object({
      /** Nil: no ping. */
      url: v.nullable(v.pipe(v.string(), v.minLength(1), v.maxLength(2048))),
      everyMs: v.pipe(s.count, v.minValue(n.PING_MS_MIN), v.maxValue(n.PING_MS_MAX)),
      /** Allows plain http to another host. */
      insecure: v.optional(v.boolean(), false),
    }),
    result: v.object({ ping: v.nullable(ping) }),
  },
} as const
