// What a change costs, counted and not timed: bytes read and sent, rows and nodes written follow the change, whatever the
// disk's size.
import { expect, test } from 'vitest'
import { INDEX_PAGE_ROWS } from '../../gateway/catalog/collection.ts'
import { openLocal } from '../../gateway/catalog/sqlite/database.ts'
import { RECORD, type RecordType } from '../../gateway/packs/format.ts'
import { FAN_OUT } from '../../protocol/image-tree.ts'
import { Dice } from '../support/model-dice.ts'
import { KIB, MIB } from '../support/model-machine.ts'
import { Stand } from '../support/stand.ts'

const CHUNK = 64 * KIB
const WRITE = 4 * KIB
const WRITES = 20

/** Of a chunk with 4 KiB of random bytes in zeroes: what it is sent as, its id asked about, and its part of frames. */
const SENT_COST_MAX = WRITE + 256

/** Records of the index by what they are, of which there are less than a page. */
const indexRows = async (catalogFile: string): Promise<{ chunks: number; nodes: number }> => {
  using catalog = openLocal(catalogFile)
  const [tenant] = await catalog.tenants.list()
  const { types } = await catalog.collection.page({ tenant: tenant!.id, after: null, end: null })
  expect(types.length).toBeLessThan(INDEX_PAGE_ROWS)
  const count = (type: RecordType): number => types.filter((one) => one === type).length
  return { chunks: count(RECORD.chunk), nodes: count(RECORD.node) }
}

/** Most nodes on the paths to so many leaves. */
const nodesMax = (size: number, changes: number): number => {
  let nodes = 0
  for (let width = size / CHUNK; width > 1;) {
    width = Math.ceil(width / FAN_OUT)
    nodes += Math.min(width, changes)
  }
  return nodes
}

for (const size of [32 * MIB, 1024 * MIB]) {
  test(`an increment of a disk of ${size / MIB} MiB costs what changed`, async () => {
    const dice = new Dice(size / MIB)
    await using stand = await Stand.start()
    const host = await stand.addHost()
    const machine = await host.addMachine('db1', [{ id: 'vda', format: 'qcow2', size }])
    await host.start()
    const first = await host.backup('db1')
    expect(first).toMatchObject({ reason: 'first', bytesRead: 0 })
    expect(first.bytesSent).toBeLessThan(2 * KIB)
    // the command line goes with the point, once
    const attached = { chunks: 1, nodes: 1 }
    expect(await indexRows(stand.catalogFile)).toEqual(attached)

    const stride = size / WRITES - ((size / WRITES) % CHUNK)
    for (let index = 0; index < WRITES; index++) await machine.write('vda', index * stride + WRITE, dice.bytes(WRITE))
    const changed = await host.backup('db1')
    expect(changed).toMatchObject({ kind: 'incremental', bytesRead: WRITES * CHUNK })
    expect(changed.bytesSent).toBeLessThan(WRITES * SENT_COST_MAX)
    const rows = await indexRows(stand.catalogFile)
    expect(rows.chunks - attached.chunks).toBe(WRITES)
    expect(rows.nodes - attached.nodes).toBeLessThanOrEqual(nodesMax(size, WRITES))

    // one more write: one chunk, and the nodes of one path
    await machine.write('vda', 3 * stride, dice.bytes(WRITE))
    const one = await host.backup('db1')
    expect(one).toMatchObject({ kind: 'incremental', bytesRead: CHUNK })
    expect(one.bytesSent).toBeLessThan(2 * SENT_COST_MAX)
    const after = await indexRows(stand.catalogFile)
    expect(after.chunks - rows.chunks).toBe(1)
    expect(after.nodes - rows.nodes).toBeLessThanOrEqual(nodesMax(size, 1))

    // nothing changed: nothing is read, sent or stored
    const none = await host.backup('db1')
    expect(none).toMatchObject({ kind: 'incremental', bytesRead: 0 })
    expect(none.bytesSent).toBeLessThan(KIB)
    expect(await indexRows(stand.catalogFile)).toEqual(after)
  })
}

test('a full read of what is known reads everything and sends ids alone', async () => {
  const size = 32 * MIB
  await using stand = await Stand.start()
  const host = await stand.addHost()
  await host.addMachine('db1', [{ id: 'vda', format: 'raw', size, content: new Dice(9).bytes(size) }])
  await host.start()
  await host.backup('db1')
  const before = await indexRows(stand.catalogFile)
  const upBefore = host.link.upBytes
  const again = await host.backup('db1', '--full')
  expect(again).toMatchObject({ kind: 'full', reason: 'requested', bytesRead: size, bytesStored: 0 })
  // 32 bytes for each chunk, and little besides
  expect(again.bytesSent).toBeLessThan((size / CHUNK) * 40)
  expect(host.link.upBytes - upBefore).toBeLessThan((size / CHUNK) * 40 + 16 * KIB)
  expect(await indexRows(stand.catalogFile)).toEqual(before)
})
