// A program to be killed: opens a datastore, uploads without end, and prints what was acknowledged, a line per fact.
//
// Usage: node crash-child.ts FOLDER SEED
import { randomBytes } from 'node:crypto'
import { writeSync } from 'node:fs'
import { hex } from '../../../protocol/chunk.ts'
import { nodeKey, TreeBuilder } from '../../../protocol/image-tree.ts'
import { keyedHash } from '../../../protocol/host/keyed-hash.ts'
import { Dice } from '../../support/model-dice.ts'
import { addTenant, addUpload, batchOf, chunkId, openDatastore, progressAt } from './fixture.ts'

const CHUNK_BYTES = 1024 * 1024
const CHUNKS = 100_000

const say = (line: string): void => void writeSync(1, `${line}\n`)
const folder = process.argv[2]!
const dice = new Dice(Number(process.argv[3]))

const datastore = await openDatastore(folder)
const known = await datastore.catalog.tenants.byName({ name: 'crash' })
const tenant = known ?? (await addTenant(datastore, 'crash', CHUNK_BYTES))
const store = datastore.tenantStore(tenant)
say('ready')

const upload = async (disk: string): Promise<never> => {
  const row = await addUpload(folder, tenant, disk)
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
    const plains = Array.from({ length: 1 + dice.below(15) }, () =>
      randomBytes(1 + dice.below(1 + dice.below(CHUNK_BYTES - 1))),
    )
    const ids = plains.map((plain) => chunkId(tenant, plain))
    await writer.append(batchOf(tenant, plains))
    for (const id of ids) builder.place(0, id)
    if (dice.below(3) === 0) builder.placeZeroes(1 + dice.below(63))
    const acknowledged = [...ids.map((id) => hex(id)), ...nodes]
    nodes = []
    await writer.commit(progressAt(builder.position))
    say(`at ${row.job} ${builder.position}`)
    for (const id of acknowledged) say(`id ${id}`)
  }
}

await Promise.all([upload('vda'), upload('vdb')])
