// Targets, rules and mutes of notifications, and the round that turns events into messages.
import type { Mute, Rule, TargetSettings } from '../../../protocol/notify.ts'
import { MATCHES_CHARS_MAX, MUTES_MAX, RULES_MAX, TARGETS_MAX } from '../../../protocol/notify.ts'
import { VarveError } from '../../../protocol/errors.ts'
import {
  ITEMS_ROUND_MAX,
  MUTE_AHEAD_MAX_MS,
  type NoticeItem,
  type NoticeScope,
  type ScopeChange,
  type TargetRow,
} from '../notices.ts'
import { read, write, type Operations } from './operation.ts'
import { insertNotice } from './outbox.ts'
import type { Sql } from './sql.ts'
import { tenantRow, tenantUuid } from './tenant-row.ts'

const HOUR_MS = 3_600_000

/** The number of a scope in the tables: 0 for the platform. */
type Scope = number | null

const no = (what: string, name: string, list: string): VarveError =>
  new VarveError('NOT_FOUND', `there is no ${what} "${name}"; varve-gateway notify ${list} shows those there are`)

/** LIMIT_REACHED where a table has no room for one more of a scope. */
const checkRoom = (sql: Sql, table: string, tenant: number, max: number, what: string): void => {
  const { rows } = sql.get<{ rows: number }>(`SELECT count(*) AS rows FROM ${table} WHERE tenant = ?`, tenant)!
  if (rows >= max) throw new VarveError('LIMIT_REACHED', `there are ${max} ${what} already: remove one first`)
}

/** LIMIT_REACHED where the matches of all rules, or of all mutes, are more than each event can be held against. */
const checkMatches = (matches: readonly Mute['match'][], what: string): void => {
  const chars = matches.reduce((sum, match) => sum + JSON.stringify(match).length, 0)
  if (chars <= MATCHES_CHARS_MAX) return
  const most = `at most ${MATCHES_CHARS_MAX} are allowed: name groups or patterns, or remove some`
  throw new VarveError('LIMIT_REACHED', `the matches of all ${what} would have ${chars} characters as JSON; ${most}`)
}

const TARGET = `SELECT name, settings, secret, secrets, origin, hourly, since_seq AS sinceSeq, held FROM notice_target`

type StoredTarget = Omit<TargetRow, 'settings' | 'set'> & { readonly settings: string; readonly secrets: string }

const targetOf = ({ settings, secrets, ...rest }: StoredTarget): TargetRow => ({
  ...rest,
  settings: JSON.parse(settings) as TargetSettings,
  set: JSON.parse(secrets) as string[],
})

const targetsOf = (sql: Sql, tenant: number): TargetRow[] =>
  sql.all<StoredTarget>(`${TARGET} WHERE tenant = ? ORDER BY name`, tenant).map(targetOf)

const rulesOf = (sql: Sql, tenant: number): Rule[] =>
  sql
    .all<{ rule: string }>('SELECT rule FROM notice_rule WHERE tenant = ? ORDER BY name', tenant)
    .map(({ rule }) => JSON.parse(rule) as Rule)

const putRule = (sql: Sql, tenant: number, rule: Rule): void => {
  sql.run(
    'INSERT INTO notice_rule VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET rule = excluded.rule',
    tenant,
    rule.name,
    JSON.stringify(rule),
  )
}

const mutesOf = (sql: Sql, tenant: number, nowMs: number): Mute[] =>
  sql
    .all<Omit<Mute, 'match'> & { match: string }>(
      `SELECT id, subject AS by, reason, match, since_ms AS sinceMs, until_ms AS untilMs FROM notice_mute
       WHERE tenant = ? AND until_ms > ? AND since_ms <= ? ORDER BY until_ms, id`,
      tenant,
      nowMs,
      nowMs + MUTE_AHEAD_MAX_MS,
    )
    .map((row) => ({ ...row, match: JSON.parse(row.match) as Mute['match'] }))

/** Everything of a scope is decided anew, as rules, targets or mutes are others. */
const lookAgain = (sql: Sql, tenant: number, nowMs: number): void => {
  sql.run('UPDATE notice_item SET due_ms = ? WHERE tenant = ?', nowMs, tenant)
}

const itemsOf = (sql: Sql, tenant: number, keys: readonly string[], nowMs: number): NoticeItem[] =>
  sql
    .all<{ item: string; dueMs: number | null }>(
      `SELECT item, due_ms AS dueMs FROM notice_item WHERE tenant = ?1 AND key IN (SELECT value FROM json_each(?2))
       UNION SELECT item, due_ms FROM (SELECT item, due_ms FROM notice_item WHERE tenant = ?1 AND due_ms <= ?3 LIMIT ?4)`,
      tenant,
      JSON.stringify(keys),
      nowMs,
      ITEMS_ROUND_MAX,
    )
    .map(({ item, dueMs }) => ({ ...(JSON.parse(item) as NoticeItem), dueMs }))

const scopeOf = (sql: Sql, tenant: number, keys: readonly string[], nowMs: number): NoticeScope => {
  const counts = sql.all<{ target: string; items: number }>(
    'SELECT target, count(*) AS items FROM notice_item WHERE tenant = ? GROUP BY target',
    tenant,
  )
  const made = sql.all<{ target: string; madeMs: number }>(
    `SELECT target, made_ms AS madeMs FROM notice WHERE tenant = ? AND made_ms > ? AND kind IN ('notice', 'summary')
     ORDER BY made_ms`,
    tenant,
    nowMs - HOUR_MS,
  )
  const lately: Record<string, number[]> = {}
  for (const { target, madeMs } of made) (lately[target] ??= []).push(madeMs)
  const named = sql.get<{ name: string }>('SELECT name FROM tenant WHERE id = ?', tenant)
  return {
    tenant: tenant === 0 ? null : tenantUuid(sql, tenant),
    tenantName: named?.name ?? null,
    targets: targetsOf(sql, tenant),
    rules: rulesOf(sql, tenant),
    mutes: mutesOf(sql, tenant, nowMs),
    items: itemsOf(sql, tenant, keys, nowMs),
    counts: Object.fromEntries(counts.map(({ target, items }) => [target, items])),
    lately,
  }
}

/** The number of a scope named by a uuid; null where there is no such tenant any more. */
const numberOf = (sql: Sql, tenant: string | null): number | null =>
  tenant === null ? 0 : (sql.get<{ id: number }>('SELECT id FROM tenant WHERE uuid = ?', tenant)?.id ?? null)

const applyChange = (sql: Sql, change: ScopeChange, nowMs: number): void => {
  const tenant = change.tenant === null ? 0 : tenantRow(sql, change.tenant)
  for (const { target, key } of change.removed)
    sql.run('DELETE FROM notice_item WHERE tenant = ? AND key = ? AND target = ?', tenant, key, target)
  // a target that was removed meanwhile gets nothing more
  const there = new Set(targetsOf(sql, tenant).map(({ name }) => name))
  for (const item of change.items.filter(({ target }) => there.has(target)))
    sql.run(
      'INSERT INTO notice_item VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET item = excluded.item, due_ms = excluded.due_ms',
      tenant,
      item.key,
      item.target,
      JSON.stringify(item),
      item.dueMs,
    )
  for (const notice of change.notices) if (there.has(notice.target)) insertNotice(sql, tenant, notice, nowMs)
  for (const [name, held] of Object.entries(change.held))
    sql.run('UPDATE notice_target SET held = ? WHERE tenant = ? AND name = ?', held, tenant, name)
}

const setTarget = (
  sql: Sql,
  tenant: number,
  target: Omit<TargetRow, 'sinceSeq' | 'held'>,
  rule: Rule | null,
): { added: boolean } => {
  const { name, settings, secret, set, origin, hourly } = target
  const added = sql.get('SELECT 1 FROM notice_target WHERE tenant = ? AND name = ?', tenant, name) === undefined
  if (added) checkRoom(sql, 'notice_target', tenant, TARGETS_MAX, 'targets')
  sql.run(
    `INSERT INTO notice_target (tenant, name, settings, secret, secrets, origin, hourly, since_seq)
     VALUES (?, ?, ?, ?, ?, ?, ?, (SELECT coalesce(max(seq), 0) FROM event)) ON CONFLICT DO UPDATE SET
     settings = excluded.settings, secret = excluded.secret, secrets = excluded.secrets, origin = excluded.origin,
     hourly = excluded.hourly`,
    tenant,
    name,
    JSON.stringify(settings),
    secret,
    JSON.stringify(set),
    origin,
    hourly,
  )
  const taken = rule !== null && rulesOf(sql, tenant).some((one) => one.name === rule.name)
  if (added && rule !== null && !taken) {
    checkRoom(sql, 'notice_rule', tenant, RULES_MAX, 'rules')
    putRule(sql, tenant, rule)
  }
  return { added }
}

const removeTarget = (sql: Sql, tenant: number, name: string, nowMs: number): string[] => {
  if (sql.run('DELETE FROM notice_target WHERE tenant = ? AND name = ?', tenant, name) === 0)
    throw no('target', name, 'target list')
  sql.run('DELETE FROM notice_item WHERE tenant = ? AND target = ?', tenant, name)
  sql.run(
    `UPDATE notice SET state = 'dead', next_ms = NULL, ended_ms = ?, error = 'the target was removed'
     WHERE tenant = ? AND target = ? AND state = 'waiting'`,
    nowMs,
    tenant,
    name,
  )
  const gone: string[] = []
  for (const rule of rulesOf(sql, tenant).filter(({ targets }) => targets.includes(name))) {
    const targets = rule.targets.filter((target) => target !== name)
    if (targets.length > 0) putRule(sql, tenant, { ...rule, targets })
    else {
      sql.run('DELETE FROM notice_rule WHERE tenant = ? AND name = ?', tenant, rule.name)
      gone.push(rule.name)
    }
  }
  return gone
}

const row = (tenant: Scope): number => tenant ?? 0

export const noticeOperations = {
  'notices.targets': read((sql, { tenant }) => targetsOf(sql, row(tenant))),

  'notices.target': read((sql, { tenant, name }) => {
    const found = sql.get<StoredTarget>(`${TARGET} WHERE tenant = ? AND name = ?`, row(tenant), name)
    return found === undefined ? null : targetOf(found)
  }),

  'notices.setTarget': write((sql, { tenant, target, rule, nowMs }) => {
    const answer = setTarget(sql, row(tenant), target, rule)
    lookAgain(sql, row(tenant), nowMs)
    return answer
  }),

  'notices.removeTarget': write((sql, { tenant, name, nowMs }) => removeTarget(sql, row(tenant), name, nowMs)),

  'notices.rules': read((sql, { tenant }) => rulesOf(sql, row(tenant))),

  'notices.setRule': write((sql, { tenant, rule, nowMs }) => {
    const there = new Set(targetsOf(sql, row(tenant)).map(({ name }) => name))
    for (const target of rule.targets) if (!there.has(target)) throw no('target', target, 'target list')
    const added = !rulesOf(sql, row(tenant)).some(({ name }) => name === rule.name)
    if (added) checkRoom(sql, 'notice_rule', row(tenant), RULES_MAX, 'rules')
    putRule(sql, row(tenant), rule)
    const matches = rulesOf(sql, row(tenant)).map(({ match }) => match)
    checkMatches(matches, 'rules')
    lookAgain(sql, row(tenant), nowMs)
    return { added }
  }),

  'notices.removeRule': write((sql, { tenant, name, nowMs }) => {
    if (sql.run('DELETE FROM notice_rule WHERE tenant = ? AND name = ?', row(tenant), name) === 0)
      throw no('rule', name, 'rule list')
    lookAgain(sql, row(tenant), nowMs)
  }),

  'notices.mutes': read((sql, { tenant, nowMs }) => mutesOf(sql, row(tenant), nowMs)),

  'notices.mute': write((sql, { tenant, mute }) => {
    sql.run('DELETE FROM notice_mute WHERE tenant = ? AND until_ms <= ?', row(tenant), mute.sinceMs)
    checkRoom(sql, 'notice_mute', row(tenant), MUTES_MAX, 'mutes')
    const others = mutesOf(sql, row(tenant), mute.sinceMs).map(({ match }) => match)
    checkMatches([...others, mute.match], 'mutes')
    sql.run(
      'INSERT INTO notice_mute VALUES (?, ?, ?, ?, ?, ?, ?)',
      mute.id,
      row(tenant),
      mute.by,
      mute.reason,
      JSON.stringify(mute.match),
      mute.sinceMs,
      mute.untilMs,
    )
  }),

  'notices.unmute': write((sql, { tenant, id, nowMs }) => {
    if (sql.run('DELETE FROM notice_mute WHERE tenant = ? AND id = ? AND until_ms > ?', row(tenant), id, nowMs) === 0)
      throw no('mute', id, 'mutes')
    lookAgain(sql, row(tenant), nowMs)
  }),

  'notices.cursor': read((sql) => sql.get<{ seq: number }>('SELECT seq FROM notice_cursor')!.seq),

  'notices.world': read((sql, { scopes, nowMs }) => {
    const keys = new Map<number, readonly string[]>()
    const due = sql.all<{ tenant: number }>('SELECT DISTINCT tenant FROM notice_item WHERE due_ms <= ?', nowMs)
    for (const { tenant } of due) keys.set(tenant, [])
    for (const asked of scopes) {
      const tenant = numberOf(sql, asked.tenant)
      if (tenant !== null) keys.set(tenant, asked.keys)
    }
    return [...keys]
      .filter(([tenant]) => sql.get('SELECT 1 FROM notice_target WHERE tenant = ? LIMIT 1', tenant) !== undefined)
      .map(([tenant, asked]) => scopeOf(sql, tenant, asked, nowMs))
  }),

  'notices.again': write((sql, { nowMs }) => {
    sql.run('UPDATE notice_item SET due_ms = ?1 WHERE due_ms > ?1', nowMs)
  }),

  'notices.commit': write((sql, { from, to, changes, nowMs }) => {
    if (sql.run('UPDATE notice_cursor SET seq = ? WHERE seq = ?', to, from) === 0) return false
    for (const change of changes) applyChange(sql, change, nowMs)
    return true
  }),
} satisfies Partial<Operations>
