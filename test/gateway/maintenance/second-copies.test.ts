// Other copies of damaged records: found where the index named a wrong place, and where two were written.
import { expect, test } from 'vitest'
import { RECORD } from '../../../gateway/packs/format.ts'
import { PackProof } from '../../../gateway/maintenance/pack-proof.ts'
import { findCopies } from '../../../gateway/maintenance/second-copies.ts'
import { verifyPoints } from '../../../gateway/maintenance/verify.ts'
import { Throttle } from '../../../protocol/host/throttle.ts'
import { forgetRecords, indexedRecords, lengthenRecords, shiftRecords } from '../../support/catalog-damage.ts'
import { HandClock } from '../../support/hand-clock.ts'
import { codeOf } from '../auth/test-authority.ts'
import { Stand } from '../chains/script.ts'
import { collected, contextOf, randomDisk, readImage } from './stand.ts'

const ALL = { point: null, machine: null, olderThanDays: null, bytesPerSecond: null }

test.each([
  ['nodes that are said to begin later', shiftRecords, 'TREE_UNREADABLE'],
  ['nodes that are said to be longer', lengthenRecords, 'TREE_UNREADABLE'],
  ['nodes that the index lost', forgetRecords, 'CATALOG_DAMAGED'],
])('%s: known as damage, and whole again at the next look', async (_, damage, code) => {
  await using stand = await Stand.open()
  const plains = randomDisk(200)
  const { root } = await stand.point(await stand.machine('db1'), plains)
  const nodes = indexedRecords(stand.folder, RECORD.node).map(({ id }) => id)
  damage(stand.folder, nodes)
  expect(await codeOf(collected(stand))).toBe(code)
  for (let level = 0; level < 3; level++) {
    // what the index does not have is damage only once a verification has written it down, a level at a time
    if (code === 'CATALOG_DAMAGED') await verifyPoints(contextOf(stand), ALL)
    await collected(stand).catch(() => {})
  }
  expect(await collected(stand)).toMatchObject({ missing: 0, dead: { records: 0 } })
  expect(await readImage(stand, root, plains.length)).toEqual(plains)
})

test('data packs in which no damage lies are not read', async () => {
  await using stand = await Stand.open()
  await stand.point(await stand.machine('db1'), randomDisk(10))
  const looked: string[] = []
  const context = contextOf(stand)
  const proof = new PackProof(context, new Throttle(null, new HandClock(1)))
  proof.isFree = async (pack) => looked.push(pack) < 0
  await findCopies(context, proof)
  expect(looked).toEqual([])
  const { root } = await stand.point(await stand.machine('db2'), randomDisk(10), 40)
  await stand.datastore
    .tenantStore(stand.tenant)
    .quarantine.enter([{ id: new Uint8Array(root!).fill(1), type: 2, place: null, reason: 'missing' }], { quiet: true })
  await findCopies(context, proof)
  const packs = await stand.datastore.catalog.collection.packs({ tenant: stand.tenant.id })
  expect(looked).toEqual(packs.filter(({ kind }) => kind === 'nodes').map(({ uuid }) => uuid))
})
