// Readiness: each check with what it found, none that waits for ever, and no more looks than one a second.
import { expect, test } from 'vitest'
import { CHECK_LIMIT_MS, FINDINGS_LIFE_MS, Readiness, type ReadinessOptions } from '../../../gateway/metrics/health.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { HandClock } from '../../support/hand-clock.ts'

const GIB = 2 ** 30

const stand = (changes: Partial<ReadinessOptions['datastore']> = {}, freeBytes = 3 * GIB) => {
  const asked = { catalog: 0 }
  const datastore: ReadinessOptions['datastore'] = {
    catalog: {
      settings: {
        get: async () => {
          asked.catalog++
          return null
        },
        init: async () => '',
        set: async () => null,
      },
    },
    space: { room: async () => ({ freeBytes, totalBytes: 9 * GIB, reserveBytes: GIB }) },
    ballast: { check: () => {} },
    writable: async () => {},
    ...changes,
  }
  const { promise: lost, resolve: lose } = Promise.withResolvers<VarveError>()
  const clock = new HandClock()
  return { readiness: new Readiness({ datastore, lost, clock }), clock, lose, asked }
}

test('all is well', async () => {
  const { ready, checks } = await stand().readiness.look()
  expect([ready, checks]).toEqual([
    true,
    {
      catalog: { ok: true, says: 'answered in 0 ms' },
      packs: { ok: true, says: 'there, with their mark' },
      space: { ok: true, says: '3.0 GiB free, reserve 1.0 GiB' },
      lock: { ok: true, says: 'held' },
    },
  ])
})

test('each thing that fails makes it not ready, and says so under its own name', async () => {
  const failing = async (): Promise<never> => {
    throw new VarveError('STORE_FAILED', 'the folder of packs is away')
  }
  const packs = await stand({ writable: failing }).readiness.look()
  expect([packs.ready, packs.checks.packs]).toEqual([false, { ok: false, says: 'the folder of packs is away' }])
  expect(packs.checks.catalog.ok).toBe(true)
  const space = await stand({}, GIB).readiness.look()
  expect([space.ready, space.checks.space.says]).toEqual([false, '1.0 GiB free, not above the reserve of 1.0 GiB'])
  const check = (): never => {
    throw new VarveError('STORE_FULL', 'no ballast')
  }
  expect((await stand({ ballast: { check } }).readiness.look()).checks.space).toEqual({ ok: false, says: 'no ballast' })
  const lost = stand()
  lost.lose(new VarveError('STORE_FAILED', 'the catalog was moved'))
  await Promise.resolve()
  const found = await lost.readiness.look()
  expect([found.ready, found.checks.lock]).toEqual([false, { ok: false, says: 'the catalog was moved' }])
})

test('a thread of the database that does not answer is not waited for', async () => {
  const { catalog } = { catalog: { settings: { get: () => new Promise<null>(() => {}) } } }
  const { readiness } = stand({ catalog: catalog as unknown as ReadinessOptions['datastore']['catalog'] })
  const { ready, checks } = await readiness.look()
  expect([ready, checks.catalog.says]).toEqual([false, `no answer within ${CHECK_LIMIT_MS} ms`])
})

test('who asks often gets the same findings, until they are old', async () => {
  const { readiness, clock, asked } = stand()
  await Promise.all([readiness.look(), readiness.look()])
  clock.advance(FINDINGS_LIFE_MS - 1)
  await readiness.look()
  expect(asked.catalog).toBe(1)
  clock.advance(1)
  await readiness.look()
  expect(asked.catalog).toBe(2)
})
