// Packs in the catalog: their length only grows, and a row goes only while nothing is in it.
import { expect, test } from 'vitest'
import { testAuthority } from '../../auth/test-authority.ts'

test('a pack is added, grows, is sealed, and is forgotten only when empty', async () => {
  await using authority = await testAuthority()
  const { catalog, acme } = authority
  const add = (uuid: string) => catalog.packs.add({ tenant: acme.id, kind: 'data', uuid, nowMs: 1 })
  const [used, empty, sealed] = [await add('a'), await add('b'), await add('c')]
  const row = { kind: 'data', tenant: acme.id, state: 'open' }
  expect(await catalog.packs.list()).toEqual([
    { ...row, id: used, uuid: 'a', bytes: 0 },
    { ...row, id: empty, uuid: 'b', bytes: 0 },
    { ...row, id: sealed, uuid: 'c', bytes: 0 },
  ])
  const grow = (bytes: number) =>
    catalog.records.commit({
      tenant: acme.id,
      machine: null,
      ids: new Uint8Array(0),
      records: [],
      packs: [{ id: used, bytes, sealed: false }],
      upload: null,
      progress: null,
    })
  await grow(500)
  await grow(300)
  await catalog.packs.seal({ packs: [{ id: sealed, bytes: 0 }] })
  expect(await catalog.packs.forget({ id: used })).toBe(false)
  expect(await catalog.packs.forget({ id: sealed })).toBe(false)
  expect(await catalog.packs.forget({ id: empty })).toBe(true)
  await catalog.packs.seal({ packs: [{ id: used, bytes: 400 }] })
  expect(await catalog.packs.list()).toEqual([
    { ...row, id: used, uuid: 'a', bytes: 500, state: 'sealed' },
    { ...row, id: sealed, uuid: 'c', bytes: 0, state: 'sealed' },
  ])
})

test('the packs of each tenant that has any are added up', async () => {
  await using authority = await testAuthority()
  const { catalog, acme, other } = authority
  expect(await catalog.packs.totals()).toEqual([])
  const packs = [
    { tenant: acme.id, uuid: 'a', bytes: 500 },
    { tenant: other.id, uuid: 'b', bytes: 7 },
    { tenant: acme.id, uuid: 'c', bytes: 40 },
  ]
  for (const { tenant, uuid, bytes } of packs) {
    const id = await catalog.packs.add({ tenant, kind: 'nodes', uuid, nowMs: 1 })
    await catalog.packs.seal({ packs: [{ id, bytes }] })
  }
  expect(await catalog.packs.totals()).toEqual([
    { tenant: acme.id, bytes: 540 },
    { tenant: other.id, bytes: 7 },
  ])
})
