// What an earlier backup left in the journal: which leases are to be ended, and which keep a new one from beginning.
import { expect, test } from 'vitest'
import type { LeaseOutcome } from '../../../agent/drivers/driver.ts'
import { earlierLeases } from '../../../agent/drivers/earlier-leases.ts'

const machine = { name: 'db1', address: '/run/db1', driver: 'qmp', keys: {}, exclude: [] }

const leaseOf = (id: string, outcome: LeaseOutcome | null, address = machine.address) => ({
  id,
  outcome,
  machine: { ...machine, address },
})

const request = { machine, leaseId: 'new' }

test('those of the machine are given with their outcomes, others are left', () => {
  const entries = [leaseOf('a', 'failed'), leaseOf('b', null, '/run/other'), leaseOf('c', 'committed')]
  const found = [...earlierLeases(entries, request)]
  expect(found.map(({ entry, outcome }) => [entry.id, outcome])).toEqual([
    ['a', 'failed'],
    ['c', 'committed'],
  ])
  const none = [...earlierLeases(entries, request, ({ id }) => id === 'a')]
  expect(none.map(({ entry }) => entry.id)).toEqual(['a'])
})

test('one without an outcome refuses a new lease, after those before it; so does the lease itself, wherever it is', () => {
  const seen: string[] = []
  const walk = (entries: ReturnType<typeof leaseOf>[]): void => {
    for (const { entry } of earlierLeases(entries, request)) seen.push(entry.id)
  }
  const held = expect.objectContaining({ code: 'LEASE_HELD', details: { machine: 'db1', lease: 'b' } })
  expect(() => walk([leaseOf('a', 'failed'), leaseOf('b', null), leaseOf('c', 'failed')])).toThrow(held)
  expect(seen).toEqual(['a'])
  const again = expect.objectContaining({ code: 'LEASE_HELD', details: { machine: 'db1', lease: 'new' } })
  expect(() => walk([leaseOf('new', 'failed', '/run/other')])).toThrow(again)
})
