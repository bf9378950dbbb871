// The tables of damage: only what the index still says is let go, what comes again heals, ranges join, and a base says what
// to read again.
import type { Tenant } from '../../../../gateway/catalog/tenants.ts'
import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { REREAD_RANGES_MAX } from '../../../../protocol/limits.ts'
import type { Damage } from '../../../../gateway/packs/damage.ts'
import type { Catalog } from '../../../../gateway/catalog/catalog.ts'
import { RECORD } from '../../../../gateway/packs/format.ts'
import { testAuthority } from '../../auth/test-authority.ts'
import { addAgent, addMachine, addPoint } from '../../catalog.ts'

const PACK = '0192aaaa-0000-4000-8000-00000000000a'
const OTHER_PACK = '0192aaaa-0000-4000-8000-00000000000b'
const SIZE = 1024 * 1024

const ids = Array.from({ length: 6 }, () => new Uint8Array(randomBytes(32)))
const damageAt = (id: Uint8Array, pack: string, offset: number): Damage => ({
  id,
  type: RECORD.chunk,
  place: { pack, offset },
  reason: 'broken',
})
const missing = (id: Uint8Array): Damage => ({ id, type: RECORD.node, place: null, reason: 'missing' })

/** Two packs in which the first ids lie, 100 bytes apart. */
const addRecords = async (catalog: Catalog, tenant: Tenant, count: number): Promise<void> => {
  const pack = await catalog.packs.add({ tenant: tenant.id, kind: 'data', uuid: PACK, nowMs: 1 })
  await catalog.packs.add({ tenant: tenant.id, kind: 'data', uuid: OTHER_PACK, nowMs: 1 })
  await commit(catalog, tenant, pack, ids.slice(0, count))
}

const commit = async (catalog: Catalog, tenant: Tenant, pack: number, some: readonly Uint8Array[]): Promise<void> => {
  const rest = { pack, storedLength: 10, plainLength: 10, codec: 0, type: RECORD.chunk, parts: 1, place: 0 } as const
  await catalog.records.commit({
    tenant: tenant.id,
    machine: null,
    ids: Buffer.concat(some),
    records: some.map((_, index) => ({ ...rest, offset: 100 * index })),
    packs: [],
    upload: null,
    progress: null,
  })
}

const idsOf = async (catalog: Catalog, tenant: Tenant): Promise<string[]> =>
  (await catalog.damage.page({ tenant: tenant.id, after: null, limit: 100 })).map(({ id }) => id)

test('a record is let go only while the index names the place that was read', async () => {
  await using authority = await testAuthority()
  const { catalog, acme, other } = authority
  await addRecords(catalog, acme, 4)
  const enter = async (tenant: Tenant, ...records: Damage[]): Promise<number[]> => [
    ...(await catalog.damage.enter({ tenant: tenant.id, nowMs: 5, records })),
  ]
  expect(
    await enter(
      acme,
      damageAt(ids[0]!, PACK, 0),
      damageAt(ids[1]!, PACK, 101),
      damageAt(ids[2]!, OTHER_PACK, 200),
      missing(ids[3]!),
      missing(ids[4]!),
    ),
  ).toEqual([1, 0, 0, 0, 1])
  expect(await enter(acme, damageAt(ids[0]!, PACK, 0), missing(ids[0]!), missing(ids[4]!))).toEqual([0, 0, 0])
  // another tenant's index and damage are its own
  expect(await enter(other, damageAt(ids[1]!, PACK, 100))).toEqual([0])
  expect([...(await catalog.records.indexed({ tenant: acme.id, ids: Buffer.concat(ids) }))]).toEqual([0, 1, 1, 1, 0, 0])
  expect((await idsOf(catalog, acme)).toSorted()).toEqual(
    [ids[0]!, ids[4]!].map((id) => Buffer.from(id).toString('hex')).toSorted(),
  )
  expect(await catalog.damage.tenants()).toEqual([acme.id])
  expect(await catalog.damage.any({ tenant: other.id })).toBe(false)
})

test('pages of damage follow one another', async () => {
  await using authority = await testAuthority()
  const { catalog, acme } = authority
  await catalog.damage.enter({ tenant: acme.id, nowMs: 5, records: ids.map(missing) })
  const seen: Uint8Array[] = []
  for (let after: Uint8Array | null = null; ;) {
    const page: { key: Uint8Array; foundMs: number; type: string; pack: string | null }[] = await catalog.damage.page({
      tenant: acme.id,
      after,
      limit: 4,
    })
    expect(page.every(({ foundMs, type, pack }) => foundMs === 5 && type === 'node' && pack === null)).toBe(true)
    seen.push(...page.map(({ key }) => key))
    if (page.length < 4) break
    after = page.at(-1)!.key
  }
  expect(seen.map((id) => Buffer.from(id).toString('hex'))).toEqual(
    ids.map((id) => Buffer.from(id).toString('hex')).toSorted(),
  )
})

test('what comes into the index again heals: its lost ranges go, and its points count as not verified', async () => {
  await using authority = await testAuthority()
  const { catalog, acme } = authority
  await addRecords(catalog, acme, 1)
  const machine = await addMachine(catalog, acme, await addAgent(catalog, acme), 'a')
  const points: string[] = []
  for (let index = 0; index < 3; index++)
    points.push(await addPoint(catalog, acme, machine, { timeMs: index, size: SIZE }))
  const [one, two, three] = points as [string, string, string]
  await catalog.points.verified({ tenant: acme.id, points, nowMs: 9 })
  await catalog.damage.enter({ tenant: acme.id, nowMs: 5, records: [missing(ids[1]!), missing(ids[2]!)] })
  const row = (point: string, offset: number, id: Uint8Array) => ({ point, disk: 'vda', offset, length: 10, id })
  const rows = [row(one, 0, ids[1]!), row(two, 0, ids[1]!), row(two, 10, ids[2]!)]
  await catalog.lost.stage({ tenant: acme.id, first: true, rows })
  await catalog.lost.replace({ tenant: acme.id })
  const list = async () => (await catalog.lost.list({ tenant: acme.id, point: null, disk: null, limit: 9 })).lost
  expect(await list()).toHaveLength(2)
  await commit(catalog, acme, 1, [ids[1]!])
  expect(await list()).toMatchObject([{ point: two, offset: 10, length: 10 }])
  const verified = async (): Promise<(number | null)[]> =>
    Promise.all(
      [one, two, three].map(
        async (prefix) => (await catalog.points.find({ tenant: acme.id, agent: null, prefix })).verifiedMs,
      ),
    )
  expect(await verified()).toEqual([null, null, 9])
  expect(await catalog.points.whole({ tenant: acme.id, points })).toBe(2)
})

test('what is staged takes the place of what was known, but for what was healed or removed meanwhile', async () => {
  await using authority = await testAuthority()
  const { catalog, acme } = authority
  const machine = await addMachine(catalog, acme, await addAgent(catalog, acme), 'a')
  const point = await addPoint(catalog, acme, machine, { size: SIZE })
  await catalog.damage.enter({ tenant: acme.id, nowMs: 5, records: [missing(ids[0]!), missing(ids[1]!)] })
  const row = (offset: number, id: Uint8Array, of = point) => ({ point: of, disk: 'vda', offset, length: 10, id })
  const stage = (first: boolean, ...rows: ReturnType<typeof row>[]) =>
    catalog.lost.stage({ tenant: acme.id, first, rows })
  const list = async (): Promise<number[]> =>
    (await catalog.lost.list({ tenant: acme.id, point, disk: 'vda', limit: 9 })).lost.map(({ offset }) => offset)
  await stage(true, row(0, ids[0]!))
  await catalog.lost.replace({ tenant: acme.id })
  expect(await list()).toEqual([0])
  // an earlier run that was cut short
  await stage(true, row(500, ids[0]!))
  await stage(true, row(100, ids[1]!))
  await stage(false, row(200, ids[5]!), row(300, ids[0]!, 'removed'))
  expect(await list()).toEqual([0])
  await catalog.lost.replace({ tenant: acme.id })
  expect(await list()).toEqual([100])
  await catalog.damage.settle({ tenant: acme.id, ids: ids[0]! })
  expect(await idsOf(catalog, acme)).toEqual([Buffer.from(ids[1]!).toString('hex')])
})

test('neighbouring ranges are one; a base asks for them, or for the whole disk', async () => {
  await using authority = await testAuthority()
  const { catalog, acme } = authority
  const machine = await addMachine(catalog, acme, await addAgent(catalog, acme), 'a')
  const point = await addPoint(catalog, acme, machine, { size: SIZE })
  await catalog.damage.enter({ tenant: acme.id, nowMs: 5, records: [missing(ids[0]!)] })
  const lose = async (...ranges: [number, number][]): Promise<void> => {
    const rows = ranges.map(([offset, length]) => ({ point, disk: 'vda', offset, length, id: ids[0]! }))
    await catalog.lost.stage({ tenant: acme.id, first: true, rows })
    await catalog.lost.replace({ tenant: acme.id })
  }
  const reread = async () => (await catalog.lost.reread({ tenant: acme.id, point }))[0]!.reread
  expect(await reread()).toEqual([])
  await lose([10, 5], [15, 20], [35, 1], [40, 2], [42, 8], [60, 10])
  const mayTouch = (base: string | null, sinceMs: number) => catalog.damage.mayTouch({ tenant: acme.id, base, sinceMs })
  expect([await mayTouch(point, 6), await mayTouch(null, 5), await mayTouch(null, 6)]).toEqual([true, true, false])
  const listed = await catalog.lost.list({ tenant: acme.id, point: null, disk: null, limit: 2 })
  expect(listed).toMatchObject({
    lostCount: 3,
    lostBytes: 46,
    lost: [
      { offset: 10, length: 26 },
      { offset: 40, length: 10 },
    ],
  })
  expect(listed.lost[0]).toMatchObject({ machine: 'a', point, disk: 'vda' })
  expect(await reread()).toEqual([
    [10, 26],
    [40, 10],
    [60, 10],
  ])
  await lose([0, SIZE / 2], [SIZE / 2, SIZE / 2])
  expect(await reread()).toBeNull()
  const many = (count: number) => Array.from({ length: count }, (_, index): [number, number] => [index * 10, 5])
  await lose(...many(REREAD_RANGES_MAX))
  expect(await reread()).toHaveLength(REREAD_RANGES_MAX)
  await lose(...many(REREAD_RANGES_MAX + 1))
  expect(await reread()).toBeNull()
})
