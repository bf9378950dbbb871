// Quotas of tenants: what is counted, what is refused and how, and appends at the same time that together must not pass one.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { TenantQuota } from '../../../gateway/catalog/tenants.ts'
import { Quotas } from '../../../gateway/datastore/quota.ts'
import { memoryLog } from './fixture.ts'

const HOUR_MS = 60 * 60 * 1000

const quotaOf = (name: string, softBytes: number | null, hardBytes: number | null): TenantQuota => ({
  tenant: `uuid of ${name}`,
  name,
  softBytes,
  hardBytes,
})

const setUp = (...quotas: TenantQuota[]) => {
  const log = memoryLog()
  const clock = { nowMs: 0 }
  const all = new Quotas({ log, nowMs: () => clock.nowMs })
  all.set(quotas)
  return { log, clock, quotas: all, one: 'uuid of one', two: 'uuid of two' }
}

const exceeded = expect.objectContaining({ code: 'QUOTA_EXCEEDED' }) as Error

test('up to the hard quota, not a byte more; another tenant is not touched by it', () => {
  const { quotas, one, two } = setUp(quotaOf('one', null, 1000), quotaOf('two', null, 1000))
  quotas.open(new Map([[one, 900]]))
  using _fits = quotas.take(one, 100)
  expect(() => quotas.take(one, 1)).toThrow(exceeded)
  using _other = quotas.take(two, 1000)
})

test('the refusal says what is used, of how much, and what to do', () => {
  const { quotas, one } = setUp(quotaOf('one', null, 3 * 2 ** 30))
  quotas.add(one, 3 * 2 ** 30)
  expect(() => quotas.check(one)).toThrow(
    /tenant one uses 3\.0 GiB of its quota of 3\.0 GiB.*prune.*gc.*tenant quota one --hard/u,
  )
  quotas.add(one, -1)
  quotas.check(one)
})

test('a quota may be set, changed and removed while it is used', () => {
  const { quotas, one } = setUp()
  quotas.add(one, 5000)
  quotas.take(one, 2 ** 50)[Symbol.dispose]()
  quotas.set([quotaOf('one', null, 5000)])
  expect(() => quotas.take(one, 1)).toThrow(exceeded)
  expect(() => quotas.check(one)).toThrow(exceeded)
  quotas.set([quotaOf('one', null, 0)])
  expect(() => quotas.check(one)).toThrow(exceeded)
  quotas.set([quotaOf('one', null, null)])
  quotas.take(one, 2 ** 50)[Symbol.dispose]()
  quotas.set([quotaOf('one', null, 10)])
  quotas.set([])
  quotas.take(one, 2 ** 50)[Symbol.dispose]()
  expect(quotas.usedBytes(one)).toBe(5000)
})

test('over the soft quota the log says so, once an hour', () => {
  const { quotas, one, clock, log } = setUp(quotaOf('one', 100, null))
  const lines = (): unknown[] => log.lines.filter(({ message }) => message.includes('soft quota'))
  quotas.add(one, 100)
  expect(lines()).toEqual([])
  for (let step = 0; step < 10; step++) quotas.add(one, 1)
  expect(lines()).toEqual([
    expect.objectContaining({
      level: 'warn',
      fields: { tenant: 'one', usedBytes: 101, softBytes: 100, hardBytes: null },
    }),
  ])
  clock.nowMs += HOUR_MS
  quotas.add(one, -5)
  expect(lines().length).toBe(1)
  quotas.add(one, 1)
  expect(lines().length).toBe(2)
})

test('appends at the same time never pass the quota together, whatever their order', () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant('take' as const), bytes: fc.nat({ max: 400 }) }),
    // the append ends with a part of its bytes there: all of them unless it failed
    fc.record({ kind: fc.constant('end' as const), index: fc.nat(), share: fc.constantFrom(0, 0.5, 1) }),
    fc.record({ kind: fc.constant('remove' as const), bytes: fc.nat({ max: 300 }) }),
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const { quotas, one } = setUp(quotaOf('one', null, 1000))
      const under: { bytes: number; taken: Disposable }[] = []
      let used = 0
      for (const action of steps) {
        if (action.kind === 'take') {
          const whole = used + under.reduce((sum, { bytes }) => sum + bytes, 0) + action.bytes
          if (whole > 1000) expect(() => quotas.take(one, action.bytes)).toThrow(exceeded)
          else under.push({ bytes: action.bytes, taken: quotas.take(one, action.bytes) })
        } else if (action.kind === 'remove') {
          used = Math.max(0, used - action.bytes)
          quotas.add(one, -action.bytes)
        } else if (under.length > 0) {
          const [ended] = under.splice(action.index % under.length, 1)
          const there = Math.floor(ended!.bytes * action.share)
          quotas.add(one, there)
          used += there
          ended!.taken[Symbol.dispose]()
        }
        expect(quotas.usedBytes(one)).toBe(used)
        expect(used).toBeLessThanOrEqual(1000)
      }
    }),
  )
})
