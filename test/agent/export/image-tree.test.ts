// The tree of an image as it is read: damage fails what lies below it, and nothing else.
import { setImmediate } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { ImageTree } from '../../../agent/export/image-tree.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { keyedHash } from '../../../protocol/host/keyed-hash.ts'
import { childSpan, FAN_OUT, nodeKey, TreeBuilder } from '../../../protocol/image-tree.ts'

const CHUNK_BYTES = 4096
const ID_KEY = new Uint8Array(32).fill(5)

test('beside a damaged node the others are read, also by those who wait for it', async () => {
  const leaves = 4
  const nodes = new Map<string, Uint8Array>()
  const builder = new TreeBuilder({
    chunks: leaves * FAN_OUT,
    hash: keyedHash,
    nodeKey: nodeKey(keyedHash, ID_KEY),
    onNode: ({ level, position, bytes }) => void nodes.set(`${level}/${position / childSpan(level + 1)}`, bytes),
  })
  for (let at = 0; at < leaves * FAN_OUT; at++) builder.place(0, keyedHash(ID_KEY, Buffer.from(`${at}`)))
  const root = builder.finish()
  const damaged = '0/2'
  const tree = new ImageTree({
    reads: {
      nodes: async (level, position, count) => {
        await setImmediate()
        const first = position / childSpan(level + 1)
        const names = Array.from({ length: count }, (_, at) => `${level}/${first + at}`)
        if (names.includes(damaged)) throw new VarveError('DATA_DAMAGED', 'it is damaged')
        return names.map((name) => nodes.get(name)!)
      },
    },
    idKey: ID_KEY,
    chunkBytes: CHUNK_BYTES,
    size: leaves * FAN_OUT * CHUNK_BYTES,
    root,
  })
  const read = await Promise.allSettled(Array.from({ length: leaves }, (_, leaf) => tree.node(0, leaf * FAN_OUT)))
  expect(read.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'rejected', 'fulfilled'])
})
