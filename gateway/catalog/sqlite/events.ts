// Events: appended in the transaction of what they tell, numbered among all and within their tenant, the oldest ones removed.
import type { EventKind } from '../../../protocol/events.ts'
import { EVENT_CHARS_MAX, EVENT_DATA_CHARS_MAX, EVENT_FIELDS_MAX } from '../../../protocol/events.ts'
import {
  EVENTS_KEPT_MS,
  EVENTS_MAX,
  EVENTS_PAGE_MAX,
  type EventBounds,
  type EventRow,
  type EventsAsked,
  type NewEvent,
} from '../events.ts'
import { aside, read, write, type Operations } from './operation.ts'
import type { Sql, SqlValue } from './sql.ts'
import type { Rowed } from './tenant-row.ts'

/** The number of the platform where tenants have theirs. */
export const PLATFORM = 0

/** Oldest events of a tenant that are looked at for their age when others are appended: more than come, so it keeps up. */
const AGED_MAX = 16

/** An event with the number of its tenant, before it is numbered. */
interface Told extends Omit<NewEvent, 'tenant' | 'kind'> {
  readonly tenant: number
  readonly kind: EventKind
  readonly active: boolean | null
  readonly key: string | null
}

const cut = (text: string): string => text.slice(0, EVENT_CHARS_MAX).toWellFormed()

/** Text and data within the limits of what travels. */
export const bounded = ({ text, data }: Pick<NewEvent, 'text' | 'data'>): { text: string; data: string } => {
  const fields = Object.entries(data)
    .slice(0, EVENT_FIELDS_MAX)
    .map(([name, value]) => [name, typeof value === 'string' ? cut(value) : value])
  const json = JSON.stringify(Object.fromEntries(fields))
  return { text: cut(text), data: json.length > EVENT_DATA_CHARS_MAX ? '{"cut":true}' : json }
}

/** The group of a machine; null where it has none, or is not there. */
export const groupOf = (sql: Sql, tenant: number, machine: string | null): string | null =>
  machine === null
    ? null
    : (sql.get<{ group: string | null }>(
        'SELECT member_of AS "group" FROM machine WHERE tenant = ? AND name = ?',
        tenant,
        machine,
      )?.group ?? null)

/** The number of a tenant, or of the platform for null; null for a tenant that is not there. */
export const eventTenant = (sql: Sql, uuid: string | null): number | null =>
  uuid === null ? PLATFORM : (sql.get<{ id: number }>('SELECT id FROM tenant WHERE uuid = ?', uuid)?.id ?? null)

const trim = (sql: Sql, tenant: number, number: number, nowMs: number): void => {
  sql.run('DELETE FROM event WHERE tenant = ? AND number <= ?', tenant, number - EVENTS_MAX)
  sql.run(
    `DELETE FROM event WHERE time_ms < ?1 AND seq IN (SELECT seq FROM event WHERE tenant = ?2 ORDER BY number LIMIT ${AGED_MAX})`,
    nowMs - EVENTS_KEPT_MS,
    tenant,
  )
}

/** Appends one event inside the caller's transaction; its place among all. */
export const appendEvent = (sql: Sql, told: Told): number => {
  const { number } = sql.get<{ number: number }>(
    `INSERT INTO event_head (tenant, number) VALUES (?, 1) ON CONFLICT DO UPDATE SET number = number + 1
     RETURNING number`,
    told.tenant,
  )!
  const { text, data } = bounded(told)
  const timeMs = Math.max(0, Math.trunc(told.timeMs))
  const { seq } = sql.get<{ seq: number }>(
    `INSERT INTO event (tenant, number, time_ms, kind, severity, machine, member_of, active, key, text, data)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING seq`,
    told.tenant,
    number,
    timeMs,
    told.kind,
    told.severity,
    told.machine,
    groupOf(sql, told.tenant, told.machine),
    told.active === null ? null : Number(told.active),
    told.key,
    text,
    data,
  )!
  trim(sql, told.tenant, number, timeMs)
  return seq
}

/** Appends what happens once to a tenant by its number, inside the caller's transaction. */
export const happened = (sql: Sql, tenant: number, event: Omit<NewEvent, 'tenant'>): void =>
  void appendEvent(sql, { ...event, tenant, active: null, key: null })

type Found = Omit<EventRow, 'active' | 'data'> & { readonly active: number | null; readonly data: string }

const COLUMNS = `event.seq, event.number, event.time_ms AS timeMs, event.kind, event.severity, tenant.uuid AS tenant,
  tenant.name AS tenantName, event.machine, event.member_of AS "group", event.active, event.key, event.text, event.data`

const EVENT = `SELECT ${COLUMNS} FROM event LEFT JOIN tenant ON tenant.id = event.tenant`

const shown = ({ active, data, ...event }: Found): EventRow => ({
  ...event,
  active: active === null ? null : active !== 0,
  data: JSON.parse(data) as EventRow['data'],
})

const limitOf = (limit: number): number => Math.max(0, Math.min(limit, EVENTS_PAGE_MAX))

/** The parts of a statement that narrow to kinds and a machine, with their values. */
const narrowed = ({ kinds, machine }: Pick<EventsAsked, 'kinds' | 'machine'>): [string, SqlValue[]] => [
  `${kinds === null ? '' : 'AND event.kind IN (SELECT value FROM json_each(?))'} ${machine === null ? '' : 'AND event.machine = ?'}`,
  [...(kinds === null ? [] : [JSON.stringify(kinds)]), ...(machine === null ? [] : [machine])],
]

const boundsOf = (sql: Sql, tenant: number): EventBounds => {
  const last = sql.get<{ number: number }>('SELECT number FROM event_head WHERE tenant = ?', tenant)?.number ?? 0
  const first = sql.get<{ number: number }>('SELECT number FROM event WHERE tenant = ? ORDER BY number LIMIT 1', tenant)
  return { last, first: first?.number ?? last + 1 }
}

const follow = (sql: Sql, asked: Rowed<EventsAsked & { after: number }>) => {
  const tenant = asked.tenant ?? PLATFORM
  const bounds = boundsOf(sql, tenant)
  const [narrow, values] = narrowed(asked)
  const limit = limitOf(asked.limit)
  const events = sql
    .all<Found>(
      `${EVENT} WHERE event.tenant = ? AND event.number > ? ${narrow} ORDER BY event.number LIMIT ?`,
      tenant,
      asked.after,
      ...values,
      limit,
    )
    .map(shown)
  return { ...bounds, events, upTo: events.length < limit ? bounds.last : events.at(-1)!.number }
}

export const eventOperations = {
  'events.append': write((sql, { events }) => {
    for (const event of events.slice(0, EVENTS_PAGE_MAX)) {
      const tenant = eventTenant(sql, event.tenant)
      if (tenant !== null) happened(sql, tenant, event)
    }
  }),

  'events.after': aside((sql, { seq, limit }) =>
    sql.all<Found>(`${EVENT} WHERE event.seq > ? ORDER BY event.seq LIMIT ?`, seq, limitOf(limit)).map(shown),
  ),

  // also where the last ones were removed
  'events.last': read(
    (sql) => sql.get<{ seq: number }>("SELECT seq FROM sqlite_sequence WHERE name = 'event'")?.seq ?? 0,
  ),

  'events.bounds': aside((sql, { tenant }) => boundsOf(sql, tenant ?? PLATFORM)),

  'events.follow': aside(follow),

  'events.list': aside((sql, asked) => {
    const [narrow, values] = narrowed(asked)
    return sql
      .all<Found>(
        `${EVENT} WHERE event.tenant = ? AND event.number < ? ${narrow} ORDER BY event.number DESC LIMIT ?`,
        asked.tenant ?? PLATFORM,
        asked.before ?? Number.MAX_SAFE_INTEGER,
        ...values,
        limitOf(asked.limit),
      )
      .map(shown)
  }),
} satisfies Partial<Operations>
