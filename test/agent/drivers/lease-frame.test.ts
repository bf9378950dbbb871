// The frame of every lease: lost once, ended once, and a disk whose bitmap was wrong is journalled before the policy is asked.
import { expect, test } from 'vitest'
import { LeaseFrame, type FramedEntry } from '../../../agent/drivers/lease-frame.ts'
import { VarveError } from '../../../protocol/errors.ts'
import type { LeaseOutcome } from '../../../agent/drivers/driver.ts'
import { exampleEntry } from '../../support/journal-entry.ts'

class PlainLease extends LeaseFrame<FramedEntry> {
  readonly checkpoint = true
  readonly did: string[] = []
  found: VarveError | null = null

  protected override exportOf(): { socketPath: string; dirtyContext: string } {
    return { socketPath: '/nowhere', dirtyContext: 'changed' }
  }

  protected override async write({ disks }: FramedEntry): Promise<void> {
    this.did.push(`write ${disks.map(({ name, reason }) => `${name} ${reason}`).join(', ')}`)
  }

  protected override async problem(): Promise<VarveError | null> {
    return this.found
  }

  protected override async finish(outcome: LeaseOutcome): Promise<void> {
    this.did.push(`finish ${outcome}`)
  }

  protected override onLost(): void {
    this.did.push('lost')
  }
}

const GONE = new VarveError('LEASE_LOST', 'the first reason')

test('a lease that does not hold is lost once, for the first reason, and every later check says so', async () => {
  const lease = new PlainLease(exampleEntry())
  await lease.check()
  lease.found = GONE
  await expect(lease.check()).rejects.toBe(GONE)
  lease.found = new VarveError('LEASE_LOST', 'another reason')
  await expect(lease.check()).rejects.toBe(GONE)
  expect(await lease.lost).toBe(GONE)
  expect(lease.did).toEqual(['lost'])
})

test('a lease ends once, with its first outcome, and holds no more', async () => {
  const lease = new PlainLease(exampleEntry())
  await Promise.all([lease.end('committed'), lease.end('failed')])
  expect(lease.did).toEqual(['finish committed'])
  await expect(lease.check()).rejects.toMatchObject({ code: 'LEASE_LOST', message: expect.stringContaining('db1') })
})

test('a comparison that finds nothing is counted and not journalled', async () => {
  const lease = new PlainLease(exampleEntry())
  await lease.compared(new Map([['vd1', { chunks: 7, missed: false }]]))
  expect(lease.did).toEqual([])
  expect(lease.disks.map(({ name, kind, comparedChunks }) => [name, kind, comparedChunks])).toEqual([
    ['vd0', 'full', 0],
    ['vd1', 'incremental', 7],
  ])
})

test('a missed change is journalled before the policy refuses the full read', async () => {
  const lease = new PlainLease(exampleEntry({ refuseFull: ['changes-missed'] }))
  const compared = lease.compared(new Map([['vd1', { chunks: 7, missed: true }]]))
  await expect(compared).rejects.toMatchObject({ code: 'FULL_REFUSED', details: { disk: 'vd1' } })
  expect(lease.did).toEqual(['write vd0 disk-added, vd1 changes-missed'])
  expect(lease.disks[1]).toMatchObject({ kind: 'full', reason: 'changes-missed', base: null, reread: [] })
})
