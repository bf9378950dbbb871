// Notifications: where they go, what they are about, when they wait, and the message that a webhook gets.
import * as v from 'valibot'
import { EVENT_CHARS_MAX, EVENT_KINDS, SEVERITIES } from './events.ts'
import { isTimeZone } from './retention.ts'
import { count, name, timeMs } from './schemas.ts'

/** Targets of notifications of one tenant, and of the platform. */
export const TARGETS_MAX = 20

/** Rules of notifications of one tenant, and of the platform. */
export const RULES_MAX = 50

/** Mutes that hold at once, of one tenant and of the platform. */
export const MUTES_MAX = 50

/** Kinds, machines, groups and parts that one match names, of each. */
export const MATCH_MAX = 100

/** Longest match of a rule or a mute, as JSON, in characters: each event is held against all of them. */
export const MATCH_CHARS_MAX = 4096

/** Longest matches of all rules of one tenant together, and of all its mutes, as JSON, in characters. */
export const MATCHES_CHARS_MAX = 32 * 1024

/** Recipients of one target's mail. */
export const RECIPIENTS_MAX = 20

/** Headers of one webhook. */
export const HEADERS_MAX = 20

/** Longest template of a webhook, in characters. */
export const TEMPLATE_CHARS_MAX = 16 * 1024

/** Messages that a target gets in an hour at most, where it does not say. */
export const HOURLY_DEFAULT = 30
const HOURLY_MAX = 1000

/** Longest host, URL, secret, reason and certificate authority, in characters. */
const HOST_CHARS_MAX = 253
const URL_CHARS_MAX = 2048
const SECRET_CHARS_MAX = 4096
const REASON_CHARS_MAX = 1024
const AUTHORITY_CHARS_MAX = 32 * 1024

/** Shortest repeat of a message, in milliseconds: five minutes. */
export const REPEAT_MS_MIN = 5 * 60_000

/** Longest repeat of a message, in milliseconds: a year. */
export const REPEAT_MS_MAX = 366 * 24 * 3_600_000

/** The dead-man ping goes out this often at most: every so many milliseconds. */
export const PING_MS_MIN = 60_000

/** The dead-man ping goes out this often at least: every so many milliseconds. */
export const PING_MS_MAX = 24 * 3_600_000

/** One line of printable text: nothing in it can begin another header. */
const line = (max: number) =>
  v.pipe(v.string(), v.minLength(1), v.maxLength(max), v.regex(/^[^\p{Cc}\u2028\u2029]+$/u, 'control characters'))

const host = v.pipe(
  v.string(),
  v.minLength(1),
  v.maxLength(HOST_CHARS_MAX),
  v.regex(/^[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?$|^[0-9A-Fa-f:.]+$/u, 'a host name or an address'),
)

/** A mail address without a display name: nothing in it can end a header or begin another recipient. */
const address = v.pipe(
  v.string(),
  v.maxLength(254),
  v.regex(/^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?$/u, 'a mail address'),
)

const url = v.pipe(v.string(), v.maxLength(URL_CHARS_MAX), v.regex(/^https?:\/\/[!-~]+$/u, 'an http or https URL'))

const secret = v.pipe(v.string(), v.minLength(1), v.maxLength(SECRET_CHARS_MAX), v.regex(/^[^\r\n\0]+$/u, 'line ends'))

/** Header names of RFC 9110; values are secrets, as most of them are. */
const header = v.object({
  name: v.pipe(v.string(), v.maxLength(64), v.regex(/^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/u, 'the name of a header')),
  value: v.pipe(v.string(), v.maxLength(SECRET_CHARS_MAX), v.regex(/^[\t -~]*$/u, 'the value of a header')),
})

/** Certificate authority to trust besides the system's, PEM. */
const authority = v.nullable(v.pipe(v.string(), v.maxLength(AUTHORITY_CHARS_MAX)))

const priority = v.pipe(count, v.maxValue(10))

/** Priorities of messages by their severity. */
const priorities = v.object({ info: priority, warning: priority, error: priority })

/** Mail over SMTP. */
const smtp = v.object({
  kind: v.literal('smtp'),
  host,
  port: v.pipe(count, v.minValue(1), v.maxValue(65_535)),
  /** `starttls` refuses a server without it; `none` is for loopback, and elsewhere with `insecure` only. */
  security: v.picklist(['starttls', 'tls', 'none']),
  insecure: v.boolean(),
  user: v.nullable(line(256)),
  from: address,
  to: v.pipe(v.array(address), v.minLength(1), v.maxLength(RECIPIENTS_MAX)),
  authority,
})

/** POST of JSON; its URL and headers are secrets. */
const webhook = v.object({
  kind: v.literal('webhook'),
  /** Allows plain http to another host. */
  insecure: v.boolean(),
  /** JSON with `{{subject}}` and the like within its texts; null for the whole message. */
  template: v.nullable(v.pipe(v.string(), v.minLength(1), v.maxLength(TEMPLATE_CHARS_MAX))),
  authority,
})

/** A topic of an ntfy server; priorities are 1 to 5. */
const ntfy = v.object({
  kind: v.literal('ntfy'),
  url,
  topic: v.pipe(v.string(), v.regex(/^[A-Za-z0-9_-]{1,64}$/u, 'letters, digits, dash and underscore, at most 64')),
  insecure: v.boolean(),
  priorities,
  authority,
})

/** An application of a Gotify server; priorities are 0 to 10. */
const gotify = v.object({ kind: v.literal('gotify'), url, insecure: v.boolean(), priorities, authority })

export const targetSettings = v.union([smtp, webhook, ntfy, gotify])
export type TargetSettings = v.InferOutput<typeof targetSettings>
export type SmtpSettings = v.InferOutput<typeof smtp>
export type WebhookSettings = v.InferOutput<typeof webhook>
export type NtfySettings = v.InferOutput<typeof ntfy>
export type GotifySettings = v.InferOutput<typeof gotify>
export const TARGET_KINDS = ['smtp', 'webhook', 'ntfy', 'gotify'] as const

/** What of a target is never shown again; what a kind does not use is ignored. */
export const targetSecrets = v.object({
  /** Of SMTP. */
  password: v.optional(v.nullable(secret)),
  /** Of ntfy and Gotify. */
  token: v.optional(v.nullable(secret)),
  /** Where a webhook goes. */
  url: v.optional(v.nullable(url)),
  /** Key of a webhook's signature. */
  key: v.optional(v.nullable(secret)),
  headers: v.optional(v.nullable(v.pipe(v.array(header), v.maxLength(HEADERS_MAX)))),
})
export type TargetSecrets = v.InferOutput<typeof targetSecrets>

/** Messages in an hour at most; what is held back is told in one message. */
export const hourly = v.pipe(count, v.minValue(1), v.maxValue(HOURLY_MAX))

/** Whether a target's secrets are there: `lost` where the key that they are encrypted with is gone. */
export const SECRET_STATES = ['none', 'set', 'lost'] as const
export type SecretState = (typeof SECRET_STATES)[number]

export const target = v.object({
  name,
  settings: targetSettings,
  hourly,
  secrets: v.picklist(SECRET_STATES),
  /** Names of the secrets that are set. */
  set: v.array(v.string()),
  /** Scheme, host and port of where a webhook goes. */
  origin: v.nullable(v.string()),
})
export type Target = v.InferOutput<typeof target>

/** A pattern of names of machines or groups: `*` for any characters, `?` for one. */
const pattern = v.pipe(v.string(), v.regex(/^[A-Za-z0-9._*?-]{1,63}$/u, 'a name with * and ?'))

const listOf = <S extends v.GenericSchema>(schema: S) => v.pipe(v.array(schema), v.minLength(1), v.maxLength(MATCH_MAX))

const conditions = {
  kinds: v.optional(listOf(v.picklist(EVENT_KINDS))),
  /** This one and worse. */
  severity: v.optional(v.picklist(SEVERITIES)),
  machines: v.optional(listOf(pattern)),
  groups: v.optional(listOf(pattern)),
}

/** What a match may hold in its third level. */
export const matchInnermost = v.object(conditions)

const inside = <S extends v.GenericSchema>(schema: S) => ({
  all: v.optional(listOf(schema)),
  any: v.optional(listOf(schema)),
  not: v.optional(schema),
})

/** What a match may hold in its second level. */
export const matchInner = v.object({ ...conditions, ...inside(matchInnermost) })

/** Which events are meant: all of what is given must hold, and nothing given is everything. */
export const match = v.object({ ...conditions, ...inside(matchInner) })

/** A match of any level. */
export type Match = Omit<v.InferOutput<typeof matchInnermost>, never> & {
  readonly all?: readonly Match[] | undefined
  readonly any?: readonly Match[] | undefined
  readonly not?: Match | undefined
}

/** When messages wait. */
export const quiet = v.object({
  /** Such as `22:00-07:00` or `Sat-Sun; Mon-Fri 20:00-07:00`. */
  window: v.pipe(v.string(), v.minLength(1), v.maxLength(256)),
  timeZone: v.pipe(v.string(), v.maxLength(64), v.check(isTimeZone, 'not a time zone')),
})

export const rule = v.object({
  name,
  match,
  targets: v.pipe(v.array(name), v.minLength(1), v.maxLength(TARGETS_MAX)),
  /** Messages wait until its end; null for none. */
  quiet: v.nullable(quiet),
  /** What still holds is told again after so long; null for never. */
  repeatMs: v.nullable(v.pipe(count, v.minValue(REPEAT_MS_MIN), v.maxValue(REPEAT_MS_MAX))),
})
export type Rule = v.InferOutput<typeof rule>

export const mute = v.object({
  id: v.string(),
  /** Subject of the person who muted. */
  by: v.string(),
  reason: v.string(),
  match,
  sinceMs: timeMs,
  untilMs: timeMs,
})
export type Mute = v.InferOutput<typeof mute>

export const muteReason = line(REASON_CHARS_MAX)

export const NOTICE_STATES = ['waiting', 'sent', 'dead'] as const
export type NoticeState = (typeof NOTICE_STATES)[number]

/** Version of the message that webhooks get. */
export const MESSAGE_VERSION = 1

/** What of an event a message is about, at most. */
export const MESSAGE_ITEMS_MAX = 50

/** What a message says of one event or condition: `resolved` is good again, `happened` does not hold. */
export const MESSAGE_STATES = ['active', 'changed', 'still', 'resolved', 'happened'] as const

const messageItem = v.object({
  kind: v.string(),
  severity: v.picklist(SEVERITIES),
  state: v.picklist(MESSAGE_STATES),
  machine: v.nullable(v.string()),
  group: v.nullable(v.string()),
  /** When it happened or began. */
  sinceMs: timeMs,
  text: v.pipe(v.string(), v.maxLength(EVENT_CHARS_MAX)),
  /** The command that shows more. */
  look: v.string(),
  data: v.record(v.string(), v.union([v.string(), v.number(), v.boolean(), v.null()])),
})
export type MessageItem = v.InferOutput<typeof messageItem>

/** One message, as a webhook without a template gets it. */
export const message = v.object({
  version: v.literal(MESSAGE_VERSION),
  /** Stays the same when it is sent again, so that a receiver can drop a second one. */
  id: v.string(),
  timeMs,
  /** Null for the platform's. */
  tenant: v.nullable(v.string()),
  target: v.string(),
  kind: v.picklist(['notice', 'summary', 'digest', 'test']),
  severity: v.picklist(SEVERITIES),
  subject: v.string(),
  text: v.string(),
  items: v.pipe(v.array(messageItem), v.maxLength(MESSAGE_ITEMS_MAX)),
  /** Changes that it stands for and does not list. */
  more: count,
})
export type Message = v.InferOutput<typeof message>

/** A message on its way. */
export const notice = v.object({
  id: v.string(),
  target: name,
  subject: v.string(),
  severity: v.picklist(SEVERITIES),
  state: v.picklist(NOTICE_STATES),
  attempts: count,
  madeMs: timeMs,
  /** When it is tried next; null once it has ended. */
  nextMs: v.nullable(timeMs),
  endedMs: v.nullable(timeMs),
  /** Why it could not be sent the last time. */
  error: v.nullable(v.string()),
})
export type Notice = v.InferOutput<typeof notice>
