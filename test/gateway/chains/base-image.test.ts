// The base of an upload: what it holds at a place, and what a damaged one says.
import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { BaseImage } from '../../../gateway/chains/base-image.ts'
import { hex } from '../../../protocol/chunk.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { decodeNode, FAN_OUT, type Ref, type TreeNode } from '../../../protocol/image-tree.ts'
import { CHUNK_BYTES, treeOf } from '../datastore/fixture.ts'

const tenant = { id: 'a', name: 'a', idKey: randomBytes(32), chunkBytes: CHUNK_BYTES, createdMs: 0 }
const refs: Ref[] = Array.from({ length: FAN_OUT + 3 }, (_, index) =>
  index % 3 === 0 ? null : new Uint8Array(randomBytes(32)),
)
const { root, nodes } = treeOf(tenant, refs)
const byId = new Map(nodes.map(({ id, bytes }) => [hex(id), decodeNode(bytes)]))

const told: string[] = []

const baseOf = (code: 'DATA_DAMAGED' | 'STORE_FAILED'): BaseImage => {
  const find = (id: Uint8Array): TreeNode | VarveError => {
    const node = byId.get(hex(id))
    if (node !== undefined) return node
    const error = new VarveError(code, 'not there')
    if (code === 'DATA_DAMAGED') return error
    throw error
  }
  const onDamaged = async (error: VarveError): Promise<void> => void told.push(error.code)
  return new BaseImage({
    read: async (ids) => ids.map(find),
    root,
    size: refs.length * CHUNK_BYTES,
    chunkBytes: CHUNK_BYTES,
    onDamaged,
  })
}

test('it holds each chunk at its place and no other', async () => {
  const base = baseOf('DATA_DAMAGED')
  for (const [position, ref] of refs.entries()) {
    expect(await base.childrenAt(0, position, 1)).toEqual([ref])
    if (ref === null) continue
    expect(await base.holds(ref, position)).toBe(true)
    expect(await base.holds(ref, (position + 1) % refs.length)).toBe(false)
  }
  expect(await base.childrenAt(2, 0, 1)).toEqual([root])
})

test('a damaged place holds nothing, and another failure is one', async () => {
  const leaf = nodes.find(({ level }) => level === 0)!
  byId.delete(hex(leaf.id))
  const position = leaf.position + 1
  expect(await baseOf('DATA_DAMAGED').holds(refs[position]!, position)).toBe(false)
  expect(told).toEqual(['DATA_DAMAGED'])
  await expect(baseOf('DATA_DAMAGED').childrenAt(0, position, 1)).rejects.toMatchObject({ code: 'DATA_DAMAGED' })
  await expect(baseOf('STORE_FAILED').holds(refs[position]!, position)).rejects.toMatchObject({ code: 'STORE_FAILED' })
})
