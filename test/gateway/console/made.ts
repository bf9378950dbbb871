// Made data for the console's tests: machines in every state, written into the catalog of the stand's gateway.
import { randomBytes, randomUUID } from 'node:crypto'
import { DatabaseSync } from 'node:sqlite'
import { TENANT } from '../../support/gateway.ts'
import { addAgent, declareMachines, setPlan } from '../catalog.ts'
import type { ConsoleStand } from './stand.ts'

const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS
export const DAY_MS = 24 * HOUR_MS

/** What was of a machine, newest last; times as ages in milliseconds. */
export interface MadeDay {
  readonly ageMs: number
  /** Why it failed; absent for a restore point. */
  readonly error?: string
  /** Why it was read in full; absent for an increment. */
  readonly fullReason?: string
  readonly verified?: boolean
  /** Why its slot was skipped. */
  readonly skipped?: string
}

export interface MadeMachine {
  readonly name: string
  readonly days: readonly MadeDay[]
  /** No plan covers it. */
  readonly isUnplanned?: boolean
  readonly excluded?: string
}

/** Writes machines with a freshness target of 26 hours; those that are unplanned are in none. */
export const makeMachines = async (stand: ConsoleStand, machines: readonly MadeMachine[]): Promise<void> => {
  const path = stand.folder.join('gateway', 'catalog.db')
  const nowMs = Date.now()
  const { catalog } = stand.gateway
  const tenant = (await catalog.tenants.byName({ name: TENANT }))!
  const agent = await addAgent(catalog, tenant, 'hv1')
  const names = machines.map(({ name }) => name)
  for (let from = 0; from < names.length; from += 5000)
    await declareMachines(catalog, { tenant, agent, nowMs: nowMs - 40 * DAY_MS }, names.slice(0, from + 5000))
  const planned = machines.filter(({ isUnplanned }) => isUnplanned !== true).map(({ name }) => name)
  await setPlan(catalog, tenant, 'gold', { rpoMs: 26 * HOUR_MS }, { machines: planned, patterns: ['db*'] })
  for (const { name, excluded } of machines)
    if (excluded !== undefined)
      await catalog.plans.exclude({
        tenant: tenant.id,
        machine: name,
        exclusion: { by: 'ann', reason: excluded, sinceMs: nowMs - DAY_MS, untilMs: nowMs + 6 * DAY_MS },
      })
  using db = new DatabaseSync(path)
  db.exec('PRAGMA busy_timeout = 5000; BEGIN IMMEDIATE')
  const id = db.prepare('SELECT id, tenant, agent FROM machine WHERE name = ?')
  const job =
    db.prepare(`INSERT INTO job (id, tenant, machine, agent, subject, state, "full", compare, seq, started_ms, ended_ms,
    released, error) VALUES (?, ?, ?, ?, 'gateway', ?, 0, 0, ?, ?, ?, 1, ?)`)
  const point =
    db.prepare(`INSERT INTO point (id, tenant, machine, agent, time_ms, kind, reason, consistency, checkpoint, configuration,
    left_out, missing, bytes_read, bytes_sent, bytes_stored, duration_ms, committed_ms, manifest, verified_ms, seq)
    VALUES (?, ?, ?, ?, ?, ?, ?, 'frozen', 1, '{}', '[]', '[]', ?, ?, ?, ?, ?, ?, ?, ?)`)
  const run = db.prepare(`INSERT INTO run (id, tenant, machine, kind, plan, due_ms, state, skipped, ended_ms)
    VALUES (?, ?, ?, 'backup', 'gold', ?, 'skipped', ?, ?)`)
  let seq = (db.prepare('SELECT coalesce(max(seq), 0) AS seq FROM job').get() as { seq: number }).seq
  for (const { name, days } of machines) {
    const machine = id.get(name) as { id: number; tenant: number; agent: string }
    const of = [machine.tenant, machine.id, machine.agent] as const
    for (const { ageMs, error, fullReason, verified, skipped } of days) {
      const [startMs, endMs] = [nowMs - ageMs - 4 * MINUTE_MS, nowMs - ageMs]
      if (skipped !== undefined) {
        run.run(randomUUID(), machine.tenant, machine.id, endMs, skipped, endMs)
        continue
      }
      const own = randomUUID()
      const text = error === undefined ? null : JSON.stringify({ code: 'QMP_FAILED', message: error })
      job.run(own, ...of, text === null ? 'committed' : 'failed', (seq += 1), startMs, endMs, text)
      if (text !== null) continue
      const [kind, reason] = fullReason === undefined ? ['incremental', 'bitmap'] : ['full', fullReason]
      const bytes = fullReason === undefined ? 327_155_712 : 42_949_672_960
      const verifiedMs = verified === true ? endMs + HOUR_MS : null
      const sizes = [bytes, bytes / 2, bytes / 3].map(Math.floor)
      point.run(own, ...of, startMs, kind, reason, ...sizes, 4 * MINUTE_MS, endMs, randomBytes(32), verifiedMs, seq)
    }
  }
  db.prepare('UPDATE tenant SET job_seq = ?, plans = plans + 1').run(seq)
  db.exec('COMMIT')
}

/** A point each day for so many days, the newest of so many hours ago. */
export const daily = (count: number, hours: number): MadeDay[] =>
  Array.from({ length: count }, (_, index) => ({
    ageMs: (count - 1 - index) * DAY_MS + hours * HOUR_MS,
    ...(index === 0 ? { fullReason: 'first' } : {}),
    verified: index % 3 === 0,
  }))
