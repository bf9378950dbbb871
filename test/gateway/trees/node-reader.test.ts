// Reading nodes of a real datastore: each kind of damage is named with its place, and the cache never hides a wrong level.
import { describe, expect, test } from 'vitest'
import { VarveError } from '../../../protocol/errors.ts'
import { damageOf } from '../../../gateway/packs/damage.ts'
import { RECORD } from '../../../gateway/packs/format.ts'
import { Damager } from '../../support/damage.ts'
import { Stand } from '../chains/script.ts'
import { randomDisk } from '../maintenance/stand.ts'

const CHUNKS = 130

const stored = async (stand: Stand) => {
  const { root } = await stand.point(await stand.machine('db1'), randomDisk(CHUNKS))
  const { nodes } = stand.datastore.tenantStore(stand.tenant)
  const [top] = await nodes.fresh([root!], 1)
  if (top instanceof VarveError) throw top
  return { nodes, root: root!, leaf: top!.children[1]! }
}

describe.each(['fresh', 'cached'] as const)('%s', (way) => {
  test('nodes come in the order asked, twice where that was asked', async () => {
    await using stand = await Stand.open()
    const { nodes, root, leaf } = await stored(stand)
    for (let round = 0; round < 2; round++)
      expect(await nodes[way]([leaf, root, leaf], null)).toMatchObject([{ level: 0 }, { level: 1 }, { level: 0 }])
    expect(await nodes[way]([], 0)).toEqual([])
  })

  test('a node of another level is damage at its place, whatever was read before', async () => {
    await using stand = await Stand.open()
    const { nodes, leaf } = await stored(stand)
    await nodes.cached([leaf], 0)
    const [wrong] = await nodes[way]([leaf], 1)
    expect(damageOf(wrong as VarveError)).toMatchObject({ type: RECORD.node, place: { offset: expect.any(Number) } })
    expect(await nodes[way]([leaf], 0)).toMatchObject([{ level: 0 }])
  })

  test('one that is absent, of another type or damaged is told beside the good ones', async () => {
    await using stand = await Stand.open()
    const { nodes, root, leaf } = await stored(stand)
    const [chunk] = (await nodes.fresh([leaf], 0)).map((node) =>
      node instanceof VarveError ? null : node.children[0]!,
    )
    await stand.reopen()
    await new Damager(stand.folder).flip(leaf)
    const found = await stand.datastore
      .tenantStore(stand.tenant)
      .nodes[way]([new Uint8Array(32), chunk!, leaf, root], null)
    expect(found.map((one) => (one instanceof VarveError ? damageOf(one) : one.level))).toMatchObject([
      { type: RECORD.node, place: null },
      { type: RECORD.chunk },
      { id: leaf, type: RECORD.node },
      1,
    ])
  })
})
