// The image of an upload while it grows: what a commit says of it, what counts as new, and how it goes on after one.
import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { batchOfRuns } from '../../../gateway/chains/backlog.ts'
import { GrowingImage } from '../../../gateway/chains/growing-image.ts'
import { EMPTY_STATE, encodeState } from '../../../gateway/chains/image-builder.ts'
import type { ImageProgress } from '../../../gateway/datastore/upload-writer.ts'
import { keyedHash } from '../../../protocol/host/keyed-hash.ts'
import type { ReadKind } from '../../../protocol/backup.ts'
import { FAN_OUT, type NewNode, type Ref } from '../../../protocol/image-tree.ts'
import { RUN } from '../../../protocol/methods.ts'
import { codeOf } from '../auth/test-authority.ts'
import { CHUNK_BYTES, treeOf } from '../datastore/fixture.ts'
import { joinIds } from './script.ts'

const tenant = { id: 'a', name: 'a', idKey: randomBytes(32), chunkBytes: CHUNK_BYTES, createdMs: 0 }
const ids = Array.from({ length: FAN_OUT }, () => new Uint8Array(randomBytes(32)))

/** Keeps what it is given. */
class Writer {
  readonly nodes: NewNode[] = []
  readonly commits: ImageProgress[] = []
  held: Promise<unknown> = Promise.resolve()

  addNodes(nodes: readonly NewNode[]): void {
    this.nodes.push(...nodes)
  }

  async commit(progress: ImageProgress): Promise<number> {
    this.commits.push(progress)
    await this.held
    return 0
  }
}

/** An image of so many chunks of which the last has 512 bytes; a base of it is zeroes, but for its first chunk. */
const grow = (
  writer: Writer,
  chunks: number,
  {
    kind = 'full',
    state = encodeState(EMPTY_STATE),
    changedBytes = 0,
  }: Partial<{ kind: ReadKind } & ImageProgress> = {},
): GrowingImage =>
  new GrowingImage({
    upload: { kind, size: (chunks - 1) * CHUNK_BYTES + 512, state, changedBytes },
    writer,
    idKey: tenant.idKey,
    chunkBytes: CHUNK_BYTES,
    hash: keyedHash,
    base: { childrenAt: async (level, position): Promise<Ref[]> => [level === 0 && position === 0 ? ids[9]! : null] },
  })

test('a commit says what is in the tree when it is called, and what of it has changed', async () => {
  const writer = new Writer()
  const image = grow(writer, 10, { kind: 'incremental' })
  await image.place(
    batchOfRuns([
      [RUN.keep, 1],
      [RUN.zero, 2],
      [RUN.ids, joinIds(ids.slice(0, 3))],
    ]),
  )
  expect(image).toMatchObject({ position: 6, progressed: true })
  const held = Promise.withResolvers<void>()
  writer.held = held.promise
  const committing = image.commit(77, null)
  await image.place(batchOfRuns([[RUN.zero, 4]]))
  held.resolve()
  await committing
  expect(image.progressed).toBe(true)
  const { root } = treeOf(tenant, [ids[9]!, null, null, ids[0]!, ids[1]!, ids[2]!, null, null, null, null])
  expect(image.finish()).toEqual(root)
  await image.commit(78, { root })
  expect(image.progressed).toBe(false)
  expect(writer.commits).toMatchObject([
    { position: 6, bytesSent: 77, changedBytes: 5 * CHUNK_BYTES, finished: false, root: null },
    { position: 10, bytesSent: 78, changedBytes: 9 * CHUNK_BYTES, finished: true, root },
  ])
})

test('it goes on from its row, and never has more changed bytes than bytes', async () => {
  const before = new Writer()
  const first = grow(before, FAN_OUT + 2)
  await first.place(batchOfRuns([[RUN.ids, joinIds(ids.slice(0, 5))]]))
  await first.commit(0, null)
  const [row] = before.commits
  const writer = new Writer()
  const image = grow(writer, FAN_OUT + 2, row)
  expect(image).toMatchObject({ position: 5, progressed: false })
  await image.place(
    batchOfRuns([
      [RUN.ids, joinIds(ids.slice(5))],
      [RUN.zero, 2],
    ]),
  )
  const { root, nodes } = treeOf(tenant, [...ids, null, null])
  expect(image.finish()).toEqual(root)
  expect(writer.nodes).toEqual(nodes)
  await image.commit(0, { root })
  expect(writer.commits).toMatchObject([{ changedBytes: (FAN_OUT + 1) * CHUNK_BYTES + 512, root }])
})

test('chunks and nodes count as uncommitted from the beginning of one commit to that of the next', async () => {
  const writer = new Writer()
  const image = grow(writer, 2 * FAN_OUT)
  image.stored(1000)
  await image.place(batchOfRuns([[RUN.ids, joinIds(ids)]]))
  expect(writer.nodes).toHaveLength(1)
  expect(image.uncommittedBytes).toBe(1000 + writer.nodes[0]!.bytes.length)
  const committing = image.commit(0, null)
  image.stored(30)
  await committing
  expect(image.uncommittedBytes).toBe(30)
})

test('a full image may not keep, though there is a base', async () => {
  expect(await codeOf(grow(new Writer(), 3).place(batchOfRuns([[RUN.keep, 3]])))).toBe('UPLOAD_INVALID')
})

test('what a failed commit took is not durable', async () => {
  const writer = new Writer()
  const image = grow(writer, 3)
  await image.place(batchOfRuns([[RUN.zero, 1]]))
  writer.held = Promise.reject(new Error('full'))
  await expect(image.commit(0, null)).rejects.toThrow('full')
  expect(image.progressed).toBe(true)
})
