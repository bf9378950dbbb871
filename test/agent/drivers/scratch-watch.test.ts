// When the scratch space counts as low, and how soon it is looked at again.

import * as fc from 'fast-check'
import { truncate, writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import {
  SCRATCH_POLL_MIN_MS,
  SCRATCH_POLL_MS,
  judgeScratch,
  lookAtUse,
  watchScratch,
} from '../../../agent/drivers/scratch-watch.ts'
import { tempFolder } from '../../support/temp.ts'

const size = fc.nat(2 ** 40 - 1)
const rate = fc.double({ min: 0, max: 2 ** 24, noNaN: true })

test('below the reserve is low at any rate; more space is never worse', () => {
  fc.assert(
    fc.property(size, size, rate, size, (freeBytes, reserveBytes, shrinkRate, moreBytes) => {
      const { low, nextMs } = judgeScratch({ freeBytes, reserveBytes, shrinkRate })
      if (freeBytes < reserveBytes) expect(low).toBe(true)
      expect(nextMs).toBeGreaterThanOrEqual(SCRATCH_POLL_MIN_MS)
      expect(nextMs).toBeLessThanOrEqual(SCRATCH_POLL_MS)
      if (!low) expect(judgeScratch({ freeBytes: freeBytes + moreBytes, reserveBytes, shrinkRate }).low).toBe(false)
    }),
  )
})

test('a fast writer is caught although the reserve is not reached', () => {
  expect(judgeScratch({ freeBytes: 1000, reserveBytes: 10, shrinkRate: 1 }).low).toBe(false)
  expect(judgeScratch({ freeBytes: 1000, reserveBytes: 10, shrinkRate: 100 }).low).toBe(true)
})

test('watching ends with the error when it is low, with null when it is stopped; what cannot be looked at, or not in time, is low', async () => {
  const looks = [500, 400, 5]
  const options = { folder: '/nowhere', reserveBytes: 10, signal: new AbortController().signal }
  const low = await watchScratch({
    ...options,
    freeBytes: () => Promise.resolve((looks.shift() ?? 0) * 1000 ** 3),
    reserveBytes: 10 * 1000 ** 3,
  })
  expect(low).toMatchObject({ code: 'SCRATCH_LOW' })
  expect(await watchScratch({ ...options, freeBytes: () => Promise.reject(new Error('gone')) })).toMatchObject({
    code: 'SCRATCH_LOW',
  })
  const hanging = {
    ...options,
    reserveBytes: 0,
    freeBytes: () => new Promise<number>(() => undefined),
    lookLimitMs: 50,
  }
  expect(await watchScratch(hanging)).toMatchObject({ code: 'SCRATCH_LOW', details: { freeBytes: 0 } })
  const stopping = new AbortController()
  const watching = watchScratch({ ...options, freeBytes: () => Promise.resolve(100), signal: stopping.signal })
  stopping.abort()
  expect(await watching).toBe(null)
})

test('what images take is what the disk has of them, of what they may take; what cannot be seen in time is not known', async () => {
  await using temp = await tempFolder()
  await writeFile(temp.join('vda'), new Uint8Array(8192).fill(1))
  // holes take nothing
  await truncate(temp.join('vda'), 1 << 30)
  await writeFile(temp.join('vdb'), new Uint8Array(4096).fill(1))
  const options = { folder: temp.path, reserveBytes: 1000, freeBytes: () => Promise.resolve(5000) }
  expect(await lookAtUse(options)).toEqual({ usedBytes: 12_288, limitBytes: 12_288 + 4000 })
  expect(await lookAtUse({ ...options, reserveBytes: 6000 })).toEqual({ usedBytes: 12_288, limitBytes: 12_288 })
  expect(await lookAtUse({ ...options, freeBytes: () => Promise.reject(new Error('gone')) })).toBe(null)
  const hanging = { ...options, freeBytes: () => new Promise<number>(() => undefined), lookLimitMs: 20 }
  expect(await lookAtUse(hanging)).toBe(null)
})
