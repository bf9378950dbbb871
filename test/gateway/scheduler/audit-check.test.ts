// The daily check of the audit log: all of a short one, what was added to a long one, all of it again after a week or a break.
import { expect, test } from 'vitest'
import type { AuditCheck } from '../../../gateway/catalog/audit.ts'
import { checkAudit } from '../../../gateway/scheduler/audit-check.ts'
import { DAY_MS } from '../../../protocol/host/duration.ts'
import { testAuthority } from '../auth/test-authority.ts'

const signal = new AbortController().signal

/** A log of so many entries that says where it was asked to begin, in pages of a thousand. */
const logOf = (entries: number, brokenSeq: number | null = null) => {
  const asked: number[] = []
  const check = async ({ after }: { after: { seq: number } | null }): Promise<AuditCheck> => {
    const from = after?.seq ?? 0
    asked.push(from)
    const seq = Math.min(entries, from + 1000)
    const hash = new Uint8Array(32).fill(seq % 256)
    if (brokenSeq !== null && brokenSeq <= seq && brokenSeq > from)
      return { brokenSeq, done: true, seq: brokenSeq - 1, hash }
    return { brokenSeq: null, done: seq === entries, seq, hash }
  }
  return { asked, catalog: { audit: { check } } as never }
}

test('a log as it is: checked whole each day', async () => {
  await using authority = await testAuthority()
  const { catalog, acme } = authority
  const entry = { timeMs: 1, tenant: acme.id, subject: 's', role: 'owner', action: 'a', resource: '', outcome: 'ok' }
  const records = Array.from({ length: 30 }, (_, index) => ({ ...entry, details: { index } }))
  await catalog.audit.appendAll({ records })
  const first = await checkAudit(catalog, { note: undefined, nowMs: 10, signal })
  expect(first).toMatchObject({ checked: 30, entries: 30, brokenSeq: null })
  await catalog.audit.appendAll({ records })
  const second = await checkAudit(catalog, { note: first.note, nowMs: 10 + DAY_MS, signal })
  expect(second).toMatchObject({ checked: 60, entries: 60, brokenSeq: null })
})

test('of a long one only what was added, and all of it after a week or where the clock was set back', async () => {
  const first = await checkAudit(logOf(250_000).catalog, { note: undefined, nowMs: DAY_MS, signal })
  expect(first).toMatchObject({ checked: 250_000, brokenSeq: null })
  const next = logOf(250_500)
  const second = await checkAudit(next.catalog, { note: first.note, nowMs: 2 * DAY_MS, signal })
  expect([second.checked, second.entries, next.asked]).toEqual([500, 250_500, [250_000]])
  for (const nowMs of [8 * DAY_MS, 0]) {
    const whole = logOf(250_500)
    expect((await checkAudit(whole.catalog, { note: second.note, nowMs, signal })).checked).toBe(250_500)
    expect(whole.asked[0]).toBe(0)
  }
})

test('a broken one names the entry, and is checked whole until it is good', async () => {
  const first = await checkAudit(logOf(250_000).catalog, { note: undefined, nowMs: DAY_MS, signal })
  const broken = await checkAudit(logOf(251_000, 250_700).catalog, { note: first.note, nowMs: 2 * DAY_MS, signal })
  expect(broken.brokenSeq).toBe(250_700)
  const again = logOf(251_000)
  expect((await checkAudit(again.catalog, { note: broken.note, nowMs: 3 * DAY_MS, signal })).checked).toBe(251_000)
})

test('ends between two pages where it is told to', async () => {
  const stop = AbortSignal.abort(new Error('stopped'))
  const asked = { note: undefined, nowMs: 1, signal: stop }
  await expect(checkAudit(logOf(5000).catalog, asked)).rejects.toThrow('stopped')
})
