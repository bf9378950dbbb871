// The images of the catalog against the manifests: what differs is refused, a manifest that cannot be read says nothing.
import { expect, test } from 'vitest'
import { confirmRoots } from '../../../gateway/maintenance/confirm-roots.ts'
import { Damager } from '../../support/damage.ts'
import { codeOf } from '../auth/test-authority.ts'
import { Stand } from '../chains/script.ts'
import { contextOf, randomDisk } from './stand.ts'

test('every point is compared, disk by disk', async () => {
  await using stand = await Stand.open()
  const { datastore, tenant } = stand
  const machine = await stand.machine('db1')
  for (let index = 0; index < 70; index++) await stand.point(machine, index === 0 ? [null] : randomDisk(1), 30 + index)
  const roots = await datastore.catalog.collection.roots({ tenant: tenant.id })
  const { images, manifests } = roots
  expect([images.length, manifests.length]).toEqual([70, 70])
  const confirm = (some: Partial<typeof roots>): Promise<string> =>
    codeOf(confirmRoots(contextOf(stand), { ...roots, ...some }))
  expect(await confirm({})).toBe('none')
  const last = images.at(-1)!
  for (const wrong of [
    { root: null },
    { root: images[5]!.root },
    { size: last.size + 1 },
    { disk: 'vdb' },
    { point: images[3]!.point },
  ])
    expect(await confirm({ images: [...images.slice(0, -1), { ...last, ...wrong }] })).toBe('CATALOG_DAMAGED')
  expect(await confirm({ images: images.slice(1) })).toBe('CATALOG_DAMAGED')
  expect(await confirm({ images: [...images, last] })).toBe('CATALOG_DAMAGED')
  const chunk = { point: last.point, id: last.root! }
  expect(await confirm({ manifests: [chunk] })).toBe('CATALOG_DAMAGED')
  const [one, other] = manifests as [(typeof manifests)[0], (typeof manifests)[0]]
  expect(await confirm({ manifests: [{ ...one, id: other.id }] })).toBe('CATALOG_DAMAGED')
})

test('of a manifest that cannot be read the catalog has all that it says', async () => {
  await using stand = await Stand.open()
  const { datastore, tenant } = stand
  await stand.point(await stand.machine('db1'), randomDisk(3))
  const roots = await datastore.catalog.collection.roots({ tenant: tenant.id })
  await new Damager(stand.folder).flip(roots.manifests[0]!.id)
  expect(await codeOf(confirmRoots(contextOf(stand), { ...roots, images: [] }))).toBe('none')
  const gone = [{ point: roots.manifests[0]!.point, id: new Uint8Array(32) }]
  expect(await codeOf(confirmRoots(contextOf(stand), { ...roots, manifests: gone }))).toBe('none')
})
