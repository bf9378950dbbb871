// What differs between two restore points of a real datastore: ranges, pages, damage, what a collection leaves, and whose it is.
import { expect, test } from 'vitest'
import { changesOf } from '../../../gateway/restore/changes.ts'
import type { ReadNodes } from '../../../gateway/trees/node-reader.ts'
import type { Params, Result } from '../../../protocol/methods.ts'
import { Damager } from '../../support/damage.ts'
import { codeOf } from '../auth/test-authority.ts'
import { addTenant } from '../datastore/fixture.ts'
import { Stand, type Plains } from '../chains/script.ts'
import { CHUNK_BYTES } from '../datastore/fixture.ts'
import { changed, collected, randomDisk, removePoints } from '../maintenance/stand.ts'

type Changes = Result<'points.changes'>

const ALL = { disk: 'vda', fromDisk: null, offset: 0, bytes: null, limit: 4096, granularity: null }

const ask = (
  { datastore, tenant }: Pick<Stand, 'datastore' | 'tenant'>,
  from: string | null,
  to: string,
  { onlyAgent = null, ...rest }: Partial<Params<'points.changes'>> & { readonly onlyAgent?: string | null } = {},
): Promise<Changes> =>
  changesOf({
    datastore,
    tenant,
    onlyAgent,
    params: { ...ALL, ...rest, from, to },
    signal: new AbortController().signal,
  })

/** Ranges in chunks. */
const said = ({ ranges }: Changes): (readonly [number, number, string])[] =>
  ranges.map(({ offset, bytes, kind }) => [offset / CHUNK_BYTES, bytes / CHUNK_BYTES, kind])

const withZero = (plains: Plains, ...places: readonly number[]): Plains =>
  plains.map((plain, index) => (places.includes(index) ? null : plain))

test('bytes: sizes, the short end of a disk, a window, a coarser granularity, and pages', async () => {
  await using stand = await Stand.open()
  const machine = await stand.machine('db1')
  const first: Plains = [...randomDisk(200), ...randomDisk(1).map((plain) => plain.subarray(0, 512))]
  const size = 200 * CHUNK_BYTES + 512
  const a = await stand.point(machine, first, 30)
  const end = randomDisk(1)[0]!.subarray(0, 512)
  const b = await stand.point(machine, [...withZero(changed(first, 5, 6, 90), 7).slice(0, 200), end], 31)
  const told = await ask(stand, a.id, b.id.slice(0, 13))
  expect(told).toEqual({
    size,
    fromSize: size,
    granularity: CHUNK_BYTES,
    covered: { offset: 0, bytes: size },
    ranges: [
      { offset: 5 * CHUNK_BYTES, bytes: 2 * CHUNK_BYTES, kind: 'data' },
      { offset: 7 * CHUNK_BYTES, bytes: CHUNK_BYTES, kind: 'zero' },
      { offset: 90 * CHUNK_BYTES, bytes: CHUNK_BYTES, kind: 'data' },
      { offset: 200 * CHUNK_BYTES, bytes: 512, kind: 'data' },
    ],
    changedBytes: 4 * CHUNK_BYTES + 512,
    next: null,
  })
  expect(await ask(stand, a.id, b.id, { offset: 6 * CHUNK_BYTES + 9, bytes: CHUNK_BYTES })).toMatchObject({
    covered: { offset: 6 * CHUNK_BYTES, bytes: 2 * CHUNK_BYTES },
    changedBytes: 2 * CHUNK_BYTES,
    next: null,
  })
  const coarse = await ask(stand, a.id, b.id, { granularity: 64 * CHUNK_BYTES, offset: CHUNK_BYTES })
  expect(coarse).toMatchObject({ granularity: 64 * CHUNK_BYTES, covered: { offset: 0, bytes: size } })
  expect(said(coarse).map(([at, count]) => [at, Math.ceil(count)])).toEqual([
    [0, 128],
    [192, 9],
  ])
  // nothing finer than a chunk is known
  expect(await ask(stand, a.id, b.id, { granularity: 1 })).toEqual(told)
  const page = await ask(stand, a.id, b.id, { limit: 2 })
  expect(page).toMatchObject({ ranges: told.ranges.slice(0, 2), next: 90 * CHUNK_BYTES })
  expect(page.covered).toEqual({ offset: 0, bytes: 90 * CHUNK_BYTES })
  expect((await ask(stand, a.id, b.id, { limit: 2, offset: page.next! })).ranges).toEqual(told.ranges.slice(2))
  expect(await ask(stand, a.id, a.id)).toMatchObject({ ranges: [], changedBytes: 0, next: null })
  expect(await ask(stand, null, a.id)).toMatchObject({ fromSize: null, changedBytes: size })
  expect(await ask(stand, a.id, b.id, { offset: size })).toMatchObject({ ranges: told.ranges.slice(-1), next: null })
})

test('disks of two machines and of two sizes', async () => {
  await using stand = await Stand.open()
  const small = randomDisk(70)
  const grown: Plains = [...small, ...Array<null>(4000).fill(null), ...randomDisk(2)]
  const a = await stand.point(await stand.machine('db1'), small, 30)
  const b = await stand.point(await stand.machine('copy'), grown, 31)
  expect(said(await ask(stand, a.id, b.id))).toEqual([[4070, 2, 'data']])
  expect(await ask(stand, b.id, a.id)).toMatchObject({
    size: 70 * CHUNK_BYTES,
    fromSize: 4072 * CHUNK_BYTES,
    ranges: [],
    next: null,
  })
})

test('damage is said where it hides what changed, noted, and nowhere else', async () => {
  await using stand = await Stand.open()
  const { datastore, tenant } = stand
  const damager = new Damager(stand.folder)
  const machine = await stand.machine('db1')
  const plains = randomDisk(300)
  const a = await stand.point(machine, plains, 30)
  const after = changed(plains, 3, 70, 200)
  const b = await stand.point(machine, after, 31)
  const disk = Buffer.concat(after.map((plain) => plain!))
  await damager.flip(
    damager.nodesOf(disk, CHUNK_BYTES).find(({ level, position }) => level === 0 && position === 64)!.id,
  )
  expect(said(await ask(stand, a.id, b.id))).toEqual([
    [3, 1, 'data'],
    [64, 64, 'damaged'],
    [200, 1, 'data'],
  ])
  expect(await datastore.catalog.damage.any({ tenant: tenant.id })).toBe(true)
  // content that was found to be lost
  await damager.flip(damager.chunkId(after[200]!))
  const store = datastore.tenantStore(tenant)
  await store.readRecord(stand.idOf(after[200]!)).catch((error) => store.quarantine.enterError(error))
  for (const granularity of [null, 32 * CHUNK_BYTES])
    expect(said(await ask(stand, a.id, b.id, { granularity })).at(-1)?.[2]).toBe('damaged')
  // the lost content is in neither of these
  expect(said(await ask(stand, a.id, a.id))).toEqual([])
})

test('what is pruned and collected while it is compared is compared to its end', async () => {
  await using stand = await Stand.open()
  const { datastore, tenant } = stand
  const machine = await stand.machine('db1')
  const plains = randomDisk(3000)
  const a = await stand.point(machine, plains, 30)
  const b = await stand.point(machine, changed(plains, 5, 2500), 31)
  await stand.point(machine, randomDisk(5), 32)
  const { nodes } = datastore.tenantStore(tenant)
  const read: ReadNodes = nodes.fresh
  let pruned = false
  // between the roots and what is below them
  const pruning: ReadNodes = async (ids, level) => {
    const found = await read(ids, level)
    if (!pruned) {
      pruned = true
      removePoints(stand, a.id, b.id)
      await collected(stand)
    }
    return found
  }
  Object.defineProperty(nodes, 'cached', { value: pruning })
  expect(said(await ask(stand, a.id, b.id))).toEqual([
    [5, 1, 'data'],
    [2500, 1, 'data'],
  ])
  expect(pruned).toBe(true)
  expect(await codeOf(ask(stand, a.id, b.id))).toBe('NOT_FOUND')
})

test('points and disks that are not there, of another tenant or of another agent are not found', async () => {
  await using stand = await Stand.open()
  const { datastore } = stand
  const { id, root } = await stand.point(await stand.machine('db1'), randomDisk(3))
  expect(root).not.toBe(null)
  const other = { datastore, tenant: await addTenant(datastore, 'other') }
  const asked: [() => Promise<unknown>, string][] = [
    [() => ask(stand, id, 'ffffffff'), 'NOT_FOUND'],
    [() => ask(stand, 'ffffffff', id), 'NOT_FOUND'],
    [() => ask(stand, id, id, { disk: 'vdz' }), 'NOT_FOUND'],
    [() => ask(stand, id, id, { fromDisk: 'vdz' }), 'NOT_FOUND'],
    [() => ask(other, null, id), 'NOT_FOUND'],
    [() => ask(stand, null, id, { onlyAgent: 'someone' }), 'NOT_FOUND'],
    [() => ask(stand, id, id, { offset: 3 * CHUNK_BYTES + 1 }), 'PARAMS_INVALID'],
  ]
  for (const [call, code] of asked) expect(await codeOf(call())).toBe(code)
})
