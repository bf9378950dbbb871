// Attribution against a plain model of every disk; what vanishes meanwhile, what nobody needs, and how calls are gathered.
import { expect, test } from 'vitest'
import { Attributions, attribute } from '../../../gateway/maintenance/attribute.ts'
import { RECORD } from '../../../gateway/packs/format.ts'
import type { VarveError } from '../../../protocol/errors.ts'
import type { LostRange } from '../../../protocol/maintenance.ts'
import { Damager } from '../../support/damage.ts'
import { Dice } from '../../support/model-dice.ts'
import { Stand, type Plains } from '../chains/script.ts'
import { CHUNK_BYTES } from '../datastore/fixture.ts'
import { changed, contextOf, randomDisk, removePoints } from './stand.ts'

const lostOf = async ({ datastore, tenant }: Stand): Promise<LostRange[]> =>
  (await datastore.catalog.lost.list({ tenant: tenant.id, point: null, disk: null, limit: 5000 })).lost

/** Enters records as damage as verify does. */
const lose = async ({ datastore, tenant }: Stand, ...ids: readonly Uint8Array[]): Promise<void> => {
  const store = datastore.tenantStore(tenant)
  const damages = []
  for (const [index, location] of (await store.locate(ids)).entries())
    damages.push({ id: ids[index]!, type: location?.type ?? RECORD.chunk, place: location, reason: 'test' })
  await store.quarantine.enter(damages, { quiet: true })
}

const damagesOf = async ({ datastore, tenant }: Stand): Promise<string[]> =>
  (await datastore.catalog.damage.page({ tenant: tenant.id, after: null, limit: 5000 })).map(({ id }) => id)

const diskOf = (plains: Plains): Buffer => Buffer.concat(plains.map((plain) => plain ?? Buffer.alloc(CHUNK_BYTES)))

/** Which chunks of a disk are lost with these ids, as ranges. */
const model = (damager: Damager, plains: Plains, ids: ReadonlySet<string>): string[] => {
  const lost = plains.map((plain) => plain !== null && ids.has(Buffer.from(damager.chunkId(plain)).toString('hex')))
  for (const { id, level, position } of damager.nodesOf(diskOf(plains), CHUNK_BYTES))
    if (ids.has(Buffer.from(id).toString('hex'))) lost.fill(true, position, position + 64 ** (level + 1))
  const ranges: string[] = []
  for (let from = 0, to = 0; from < lost.length; from = to + 1) {
    for (to = from; lost[to] === true;) to++
    if (to > from) ranges.push(`${from * CHUNK_BYTES}+${(to - from) * CHUNK_BYTES}`)
  }
  return ranges
}

test('every range of every point is found, of shared and repeated subtrees too', async () => {
  await using stand = await Stand.open()
  const damager = new Damager(stand.folder)
  const machine = await stand.machine('db1')
  const other = await stand.machine('db2')
  const first = randomDisk(300)
  // a subtree that stands in one disk twice, and zeroes between
  const second: Plains = [
    ...first.slice(64, 128),
    ...Array<null>(64).fill(null),
    ...first.slice(64, 128),
    ...first.slice(0, 9),
  ]
  const disks: Plains[] = [first, changed(first, 3, 70, 299), changed(first, 70), second]
  const points: string[] = []
  for (const [index, plains] of disks.entries())
    points.push((await stand.point(index < 3 ? machine : other, plains, 30 + index)).id)
  const dice = new Dice(90)
  const lost = new Set<string>()
  for (let round = 0; round < 6; round++) {
    const nodes = disks.flatMap((plains) => damager.nodesOf(diskOf(plains), CHUNK_BYTES))
    const chunk = damager.chunkId(dice.pick(first))
    const ids = round < 2 ? [chunk] : [chunk, dice.pick(nodes).id]
    await lose(stand, ...ids)
    for (const id of ids) lost.add(Buffer.from(id).toString('hex'))
    await attribute(contextOf(stand))
    const found = await lostOf(stand)
    for (const [index, point] of points.entries()) {
      const ranges = found.filter((range) => range.point === point).map(({ offset, length }) => `${offset}+${length}`)
      expect(ranges, `round ${round}, point ${index}`).toEqual(model(damager, disks[index]!, lost))
    }
  }
})

test('a node that nobody knew to be damaged is found on the way; another tenant is not touched', async () => {
  await using stand = await Stand.open()
  const damager = new Damager(stand.folder)
  const plains = randomDisk(200)
  await stand.point(await stand.machine('db1'), plains)
  const nodes = damager.nodesOf(diskOf(plains), CHUNK_BYTES)
  await damager.flip(nodes[1]!.id)
  await lose(stand, damager.chunkId(plains[0]!))
  await attribute(contextOf(stand))
  expect((await lostOf(stand)).map(({ offset, length }) => [offset, length])).toEqual([
    [0, CHUNK_BYTES],
    [64 * CHUNK_BYTES, 64 * CHUNK_BYTES],
  ])
  expect(await damagesOf(stand)).toHaveLength(2)
})

test('damage that no point needs any more is forgotten, and a point that is gone has no ranges', async () => {
  await using stand = await Stand.open()
  const damager = new Damager(stand.folder)
  const machine = await stand.machine('db1')
  const plains = randomDisk(70)
  const { id: one } = await stand.point(machine, plains, 30)
  const { id: two } = await stand.point(machine, changed(plains, 5), 31)
  await lose(stand, damager.chunkId(plains[5]!), damager.chunkId(plains[6]!))
  await attribute(contextOf(stand))
  expect((await lostOf(stand)).map(({ point }) => point).toSorted()).toEqual([one, two].toSorted())
  removePoints(stand, one)
  await attribute(contextOf(stand))
  expect(await damagesOf(stand)).toEqual([Buffer.from(damager.chunkId(plains[6]!)).toString('hex')])
  removePoints(stand, two)
  await attribute(contextOf(stand))
  expect([await damagesOf(stand), await lostOf(stand)]).toEqual([[], []])
})

test('what comes again while damage is attributed is not lost', async () => {
  await using stand = await Stand.open()
  const damager = new Damager(stand.folder)
  const machine = await stand.machine('db1')
  const plains = randomDisk(70)
  await stand.point(machine, plains, 30)
  await lose(stand, damager.chunkId(plains[5]!))
  const attributed = attribute(contextOf(stand))
  await Promise.all([attributed, stand.point(machine, plains, 31)])
  expect([await damagesOf(stand), await lostOf(stand)]).toEqual([[], []])
})

test('calls for one tenant are gathered, each is followed by a whole attribution; an end stops them', async () => {
  await using stand = await Stand.open()
  const damager = new Damager(stand.folder)
  const plains = randomDisk(70)
  await stand.point(await stand.machine('db1'), plains)
  const errors: VarveError[] = []
  const { datastore, tenant } = stand
  const attributions = new Attributions({ datastore }, (error) => void errors.push(error))
  await lose(stand, damager.chunkId(plains[0]!))
  const first = attributions.soon(tenant)
  await lose(stand, damager.chunkId(plains[9]!))
  const second = attributions.soon(tenant)
  expect(attributions.soon(tenant)).toBe(second)
  await Promise.all([first, second])
  expect(await lostOf(stand)).toHaveLength(2)
  await lose(stand, damager.chunkId(plains[20]!))
  const late = attributions.soon(tenant)
  await attributions[Symbol.asyncDispose]()
  await late
  await attributions.soon(tenant)
  expect([await lostOf(stand), errors]).toMatchObject([{ length: 2 }, []])
})
