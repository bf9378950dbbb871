// A program to be killed: opens a datastore, uploads without end, and prints what was acknowledged, a line per fact.
//
// Usage: node crash-child.ts FOLDER
import { randomBytes, randomInt } from 'node:crypto'
import { writeSync } from 'node:fs'
import { hex } from '../../../protocol/chunk.ts'
import { nodeKey, TreeBuilder } from '../../../protocol/image-tree.ts'
import { keyedHash } from '../../../gateway/datastore/keyed-hash.ts'
import { addTenant, addUpload, batchOf, chunkId, openDatastore, progressAt } from './fixture.ts'

const CHUNK_BYTES = 1024 * 1024
const CHUNKS = 100_000

const say = (line: string): void => void writeSync(1, `${line}\n`)
const folder = process.argv[2]!

const datastore = await openDatastore(folder)
const known = await datastore.database.call('tenant.byName', { name: 'crash' })
const tenant = known ?? (await addTenant(datastore, 'crash', CHUNK_BYTES))
const store = datastore.tenantStore(tenant)
say('ready')

const upload = async (disk: string): Promise<never> => {
  const row = addUpload(folder, tenant, disk)
  const writer = await store.openWriter(row)
  const builder = new TreeBuilder({
    chunks: CHUNKS,
    hash: keyedHash,
    nodeKey: nodeKey(keyedHash, tenant.idKey),
    onNode: (node) => {
      writer.addNodes([node])
      nodes.push(hex(node.id))
    },
  })
  let nodes: string[] = []
  for (;;) {
    const plains = Array.from({ length: randomInt(1, 16) }, () => randomBytes(randomInt(1, randomInt(2, CHUNK_BYTES))))
    const ids = plains.map((plain) => chunkId(tenant, plain))
    await writer.append(batchOf(tenant, plains))
    for (const id of ids) builder.place(0, id)
    if (randomInt(3) === 0) builder.placeZeroes(randomInt(1, 64))
    const acknowledged = [...ids.map((id) => hex(id)), ...nodes]
    nodes = []
    await writer.commit(progressAt(builder.position))
    say(`at ${row.job} ${builder.position}`)
    for (const id of acknowledged) say(`id ${id}`)
  }
}

await Promise.all([upload('vda'), upload('vdb')])
