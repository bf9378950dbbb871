// The audit log as the gateway uses it: refusals recorded in bounded number, and a long log checked part by part.
import type { AuditEntry } from '../../../gateway/catalog/audit.ts'
import { intercepted, type Intercept } from '../../support/intercept.ts'
import { afterEach, expect, test, vi } from 'vitest'
import {
  Audit,
  ENTRIES_WAITING_MAX,
  REFUSAL_WINDOW_MS,
  REFUSALS_PER_WINDOW_MAX,
  RETRY_INTERVAL_MS,
} from '../../../gateway/auth/audit.ts'
import { enrol, issueEnrolment, issueToken } from '../../../gateway/auth/tokens.ts'
import { verifyBearer } from '../../../gateway/auth/bearer.ts'
import type { Catalog } from '../../../gateway/catalog/catalog.ts'
import { openLocal, type LocalCatalog } from '../../../gateway/catalog/sqlite/database.ts'
import { VarveError, type ErrorCode } from '../../../protocol/errors.ts'
import { tempFolder } from '../../support/temp.ts'
import { codeOf, NOW_MS, testAuthority } from './test-authority.ts'

afterEach(() => void vi.useRealTimers())

const throwing = (error: VarveError): never => {
  throw error
}

const log = async (catalog: Catalog, tenant: string | null): Promise<AuditEntry[]> =>
  await catalog.audit.list({ tenant, afterSeq: 0, limit: 1000 })

const refusal = (code: ErrorCode, timeMs: number, tenant: string | null = null) => ({
  timeMs,
  tenant,
  subject: '',
  role: '',
  action: 'connect',
  resource: '',
  outcome: code,
  details: { address: '192.0.2.7' },
})

test('a refused connection is recorded and thrown on; an accepted one is not a refusal', async () => {
  await using gateway = await testAuthority()
  const { authority, catalog, acme } = gateway
  await using audit = new Audit({ catalog, onError: throwing })
  const request = { tenant: acme, subject: 'ann', role: 'viewer' as const, ttlMs: 1000, nowMs: NOW_MS }
  const { token } = await issueToken(authority, request)
  const connect = (text: string, timeMs: number) =>
    audit.guard({ action: 'connect', address: '192.0.2.7', timeMs }, () => verifyBearer(authority, text, timeMs))
  expect((await connect(token, NOW_MS)).subject).toBe('ann')
  expect(await codeOf(connect('nonsense', NOW_MS))).toBe('TOKEN_MALFORMED')
  expect(await codeOf(connect(token, NOW_MS + 1000))).toBe('TOKEN_EXPIRED')
  expect(await log(catalog, null)).toMatchObject([
    { action: 'connect', subject: '', outcome: 'TOKEN_MALFORMED', details: { address: '192.0.2.7' } },
  ])
  expect(await log(catalog, acme.id)).toMatchObject([
    { action: 'connect', subject: 'ann', role: 'viewer', outcome: 'TOKEN_EXPIRED' },
  ])
})

test('a replayed enrolment is in the log of its tenant', async () => {
  await using gateway = await testAuthority(true)
  const { authority, catalog, acme } = gateway
  await using audit = new Audit({ catalog, onError: throwing })
  const request = { tenant: acme, ttlMs: 60_000, nowMs: NOW_MS }
  const { token } = await issueEnrolment(authority, request)
  const publicKey = Buffer.alloc(32, 1).toString('base64url')
  const attempt = () =>
    audit.guard({ action: 'enrol', address: '192.0.2.7', timeMs: NOW_MS }, () =>
      enrol(authority, { token, publicKey, host: 'hv1', nowMs: NOW_MS }),
    )
  await attempt()
  expect(await codeOf(attempt())).toBe('ENROLMENT_USED')
  expect((await log(catalog, acme.id)).at(-1)).toMatchObject({ action: 'enrol', outcome: 'ENROLMENT_USED' })
})

test('what is no refusal is thrown on and not recorded', async () => {
  await using gateway = await testAuthority()
  await using audit = new Audit({ catalog: gateway.catalog, onError: throwing })
  const attempt = audit.guard({ action: 'connect', address: '', timeMs: NOW_MS }, () =>
    Promise.reject(new VarveError('STORE_FAILED', 'the disk is gone')),
  )
  expect(await codeOf(attempt)).toBe('STORE_FAILED')
  expect(await log(gateway.catalog, null)).toEqual([])
})

test('a flood is written up to a limit, then counted, and summed up once its minute is over', async () => {
  await using temp = await tempFolder()
  using catalog = openLocal(temp.join('catalog.db'))
  await using audit = new Audit({ catalog, onError: throwing })
  const flood = 5 * REFUSALS_PER_WINDOW_MAX
  for (let i = 0; i < flood; i++)
    await audit.refused(refusal(i % 2 === 0 ? 'TOKEN_SIGNATURE' : 'TOKEN_MALFORMED', NOW_MS + i))
  expect(await log(catalog, null)).toHaveLength(REFUSALS_PER_WINDOW_MAX)
  await audit.refused(refusal('TOKEN_EXPIRED', NOW_MS + REFUSAL_WINDOW_MS))
  const entries = await log(catalog, null)
  expect(entries).toHaveLength(REFUSALS_PER_WINDOW_MAX + 2)
  const count = flood - REFUSALS_PER_WINDOW_MAX
  expect(entries.at(-2)).toMatchObject({
    action: 'refusals',
    outcome: 'counted',
    details: { count, TOKEN_SIGNATURE: count / 2, TOKEN_MALFORMED: count / 2, fromMs: NOW_MS },
  })
  expect(entries.at(-1)).toMatchObject({ outcome: 'TOKEN_EXPIRED' })
  expect(await audit.check()).toMatchObject({ brokenSeq: null })
})

test('refusals that come all at once do not pass the limit either', async () => {
  await using gateway = await testAuthority(true)
  const { catalog } = gateway
  await using audit = new Audit({ catalog, onError: throwing })
  const flood = Array.from({ length: 500 }, () => audit.refused(refusal('TOKEN_SIGNATURE', NOW_MS)))
  await Promise.all(flood)
  expect(await log(catalog, null)).toHaveLength(REFUSALS_PER_WINDOW_MAX)
})

test('one tenant’s flood does not hide another’s refusals', async () => {
  await using gateway = await testAuthority()
  const { catalog, acme, other } = gateway
  await using audit = new Audit({ catalog, onError: throwing })
  for (let i = 0; i < 2 * REFUSALS_PER_WINDOW_MAX; i++) await audit.refused(refusal('ROLE_FORBIDDEN', NOW_MS, acme.id))
  await audit.refused(refusal('NOT_FOUND', NOW_MS, other.id))
  expect(await log(catalog, other.id)).toMatchObject([{ outcome: 'NOT_FOUND' }])
})

test('a flood that stops is summed up when the gateway closes, or a minute later by itself', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  await using temp = await tempFolder()
  using catalog = openLocal(temp.join('catalog.db'))
  const audit = new Audit({ catalog, onError: throwing })
  const flood = async () => {
    for (let i = 0; i <= REFUSALS_PER_WINDOW_MAX; i++) await audit.refused(refusal('TOKEN_SIGNATURE', NOW_MS))
  }
  const sums = async () => (await log(catalog, null)).filter(({ action }) => action === 'refusals')
  await flood()
  expect(await sums()).toHaveLength(0)
  await vi.advanceTimersByTimeAsync(REFUSAL_WINDOW_MS)
  expect(await sums()).toHaveLength(1)
  await flood()
  await audit[Symbol.asyncDispose]()
  expect(await sums()).toHaveLength(2)
  expect(vi.getTimerCount()).toBe(0)
})

test('a log that cannot be written does not change the answer to the caller', async () => {
  await using temp = await tempFolder()
  const catalog = openLocal(temp.join('catalog.db'))
  const failures: string[] = []
  await using audit = new Audit({ catalog, onError: ({ code }) => failures.push(code) })
  catalog[Symbol.dispose]()
  const attempt = audit.guard({ action: 'connect', address: '', timeMs: NOW_MS }, () =>
    Promise.reject(new VarveError('TOKEN_EXPIRED', 'late')),
  )
  expect(await codeOf(attempt)).toBe('TOKEN_EXPIRED')
  expect(failures).toHaveLength(1)
})

const entry = (action: string, timeMs = NOW_MS) => ({
  timeMs,
  tenant: null,
  subject: 's',
  role: 'owner',
  action,
  resource: '',
  outcome: 'ok',
  details: {},
})

/** A database whose audit log is full while it says so. */
const fillable = (catalog: LocalCatalog) => {
  const state = { full: false }
  const between: Intercept = (name, _, call) => {
    if (state.full && name === 'audit.appendAll') throw new VarveError('STORE_FULL', 'no space left')
    return call()
  }
  return { state, catalog: intercepted(catalog, between) }
}

test('entries that find no space change no answer, wait in their order, and are written once there is some', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  await using temp = await tempFolder()
  using local = openLocal(temp.join('catalog.db'))
  const { state, catalog } = fillable(local)
  const told: (string | undefined)[] = []
  await using audit = new Audit({ catalog, onError: ({ code }, late) => void told.push(code, late?.action) })
  await audit.record(entry('one'))
  state.full = true
  await Promise.all([audit.record(entry('two')), audit.record(entry('three'))])
  await audit.record(entry('four'))
  expect((await log(local, null)).map(({ action }) => action)).toEqual(['one'])
  // whoever reads the program's log has them
  expect(told).toEqual(['STORE_FULL', 'two', 'STORE_FULL', 'three', 'STORE_FULL', 'four'])
  state.full = false
  await vi.advanceTimersByTimeAsync(RETRY_INTERVAL_MS)
  await audit.record(entry('five'))
  expect((await log(local, null)).map(({ action }) => action)).toEqual(['one', 'two', 'three', 'four', 'five'])
  expect(await audit.check()).toMatchObject({ brokenSeq: null })
  expect(vi.getTimerCount()).toBe(0)
})

test('past a bound waiting entries are counted and summed up in their place', async () => {
  await using temp = await tempFolder()
  using local = openLocal(temp.join('catalog.db'))
  const { state, catalog } = fillable(local)
  await using audit = new Audit({ catalog, onError: () => {} })
  state.full = true
  for (let index = 0; index < ENTRIES_WAITING_MAX + 5; index++) await audit.record(entry('restore', NOW_MS + index))
  state.full = false
  await audit.record(entry('last'))
  expect(await audit.check()).toMatchObject({ brokenSeq: null })
  const page = await local.audit.list({ tenant: null, afterSeq: ENTRIES_WAITING_MAX - 1, limit: 10 })
  expect(page).toMatchObject([
    { action: 'restore', timeMs: NOW_MS + ENTRIES_WAITING_MAX - 1 },
    { action: 'audit', outcome: 'counted', details: { count: 6, fromMs: NOW_MS + ENTRIES_WAITING_MAX } },
  ])
})

test('what waits at the end is tried once more, and told where that fails', async () => {
  await using temp = await tempFolder()
  using local = openLocal(temp.join('catalog.db'))
  const { state, catalog } = fillable(local)
  const told: (string | undefined)[] = []
  for (const full of [false, true]) {
    told.length = 0
    const audit = new Audit({ catalog, onError: (_, late) => void told.push(late?.action) })
    state.full = true
    await audit.record(entry(`full ${full}`))
    state.full = full
    await audit[Symbol.asyncDispose]()
    expect(told).toEqual(full ? ['full true', 'full true'] : ['full false'])
  }
  expect((await log(local, null)).map(({ action }) => action)).toEqual(['full false'])
})
