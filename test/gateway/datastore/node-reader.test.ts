// Reading of tree nodes: what is whole, and what is not a node, not this one, or not of its level, with its place.
import { expect, test } from 'vitest'
import { damageOf } from '../../../gateway/datastore/damage.ts'
import { DirectoryPackStore } from '../../../gateway/datastore/directory-pack-store.ts'
import { RECORD } from '../../../gateway/datastore/format.ts'
import { NodeReader } from '../../../gateway/datastore/node-reader.ts'
import { RecordReader } from '../../../gateway/datastore/record-reader.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { Damager } from '../../support/damage.ts'
import { Stand } from '../chains/script.ts'
import { randomDisk } from '../maintenance/stand.ts'

test('gives nodes in the order asked, and of each bad one what it is and where it lies', async () => {
  await using stand = await Stand.open()
  const { datastore, tenant } = stand
  const plains = randomDisk(200)
  const { root } = await stand.point(await stand.machine('db1'), plains)
  await using store = await DirectoryPackStore.open(datastore.paths.packs)
  const reader = new NodeReader(new RecordReader({ tenant, database: datastore.database, store }), tenant.idKey)
  const [top] = await reader.read([root!], 1)
  if (top === undefined || top instanceof VarveError) throw new Error('the root cannot be read')
  const leaves = top.children.filter((child) => child !== null)
  expect((await reader.read([...leaves, root!], null)).map((node) => 'level' in node && node.level)).toEqual([
    0, 0, 0, 0, 1,
  ])

  const damager = new Damager(stand.folder)
  const { pack, offset } = await damager.flip(leaves[2]!)
  const chunk = stand.idOf(plains[0]!)
  const absent = new Uint8Array(32).fill(9)
  const ids = [leaves[0]!, leaves[2]!, root!, chunk, absent]
  const read = await reader.read(ids, 0)
  expect(read[0]).toMatchObject({ level: 0 })
  const damages = read.slice(1).map((error) => (error instanceof VarveError ? damageOf(error) : null))
  expect(damages).toMatchObject([
    { id: leaves[2], type: RECORD.node, place: { pack, offset } },
    { id: root, type: RECORD.node, place: { pack }, reason: expect.stringContaining('level 1') as string },
    { id: chunk, type: RECORD.chunk, reason: expect.stringContaining('not a tree node') as string },
    { id: absent, type: RECORD.node, place: null },
  ])
})
