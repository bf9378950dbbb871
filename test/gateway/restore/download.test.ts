// Sending an image: whole and from any chunk, zeroes as runs, messages within a frame, and what is damaged by name.
import type { ImageRow } from '../../../gateway/catalog/points.ts'
import { expect, test } from 'vitest'
import { downloadImage } from '../../../gateway/restore/download.ts'
import { CHUNK_HEAD_BYTES } from '../../../protocol/chunk-list.ts'
import { VarveError } from '../../../protocol/errors.ts'
import type { Ref } from '../../../protocol/image-tree.ts'
import { LOAD, type Down } from '../../../protocol/methods.ts'
import { codeOf } from '../auth/test-authority.ts'
import { plainOf, splitChunks } from '../../protocol/wire-chunks.ts'
import { sizeOf, Stand, type Plains } from '../chains/script.ts'
import { CHUNK_BYTES, plainChunk } from '../datastore/fixture.ts'

type Message = Down<'image.download'>

const imageOf = (root: Ref, size: number): ImageRow => ({
  name: 'vda',
  size,
  root,
  kind: 'full',
  reason: 'first',
  changedBytes: 0,
  comparedChunks: 0,
})

/** A copy, as the frame is that a message is put into: large stored bytes are freed as soon as it was given away. */
const kept = (message: Message): Message => structuredClone(message)

const download = async (stand: Stand, root: Ref, size: number, position = 0): Promise<Message[]> => {
  const messages: Message[] = []
  const { idKey, chunkBytes } = stand.tenant
  const store = stand.datastore.tenantStore(stand.tenant)
  await downloadImage({ store, image: imageOf(root, size), chunkBytes, idKey, position }, async (message) => {
    messages.push(kept(message))
  })
  return messages
}

/** The plain bytes that the messages after the first say, chunk by chunk. */
const plainsOf = (messages: readonly Message[]): Plains =>
  messages.flatMap((message): (Uint8Array | null)[] => {
    if (message[0] === LOAD.start) return []
    if (message[0] === LOAD.zero || message[0] === LOAD.lost) return Array<null>(message[1]).fill(null)
    return splitChunks({ heads: message[1], stored: message[2] }).map(plainOf)
  })

const same = (a: Plains, b: Plains): boolean =>
  a.length === b.length &&
  a.every((plain, index) => (plain === null ? b[index] === null : Buffer.compare(plain, b[index]!) === 0))

test('an image comes back as it was sent, from every kind of place', async () => {
  await using stand = await Stand.open()
  const plains = Array.from({ length: 2500 }, (_, index) => (index % 100 < 40 || index > 2400 ? null : plainChunk()))
  plains.push(plainChunk().subarray(0, 1536))
  const size = sizeOf(plains)
  const { root } = await stand.point(await stand.machine('db1'), plains)
  for (const position of [0, 1, 39, 40, 64, 1000, 2401, 2500, 2501]) {
    const messages = await download(stand, root, size, position)
    const { chunkBytes, idKey } = stand.tenant
    expect(messages[0]).toEqual([LOAD.start, { size, chunkBytes, root, idKey, position }])
    expect(same(plainsOf(messages), plains.slice(position))).toBe(true)
    const sizes = messages.map((message) => (message[0] === LOAD.chunks ? message[1].length / CHUNK_HEAD_BYTES : 0))
    expect(Math.max(...sizes)).toBeLessThanOrEqual(1024)
  }
  expect(await codeOf(download(stand, root, size, 2502))).toBe('PARAMS_INVALID')
})

test('an image of zeroes is one run, an empty one is none', async () => {
  await using stand = await Stand.open()
  expect((await download(stand, null, 2 ** 40)).slice(1)).toEqual([[LOAD.zero, 2 ** 40 / CHUNK_BYTES]])
  expect(await download(stand, null, 0)).toHaveLength(1)
})

test('what cannot be read ends the download with its id, after what comes before it', async () => {
  await using stand = await Stand.open()
  const plains = Array.from({ length: 3000 }, plainChunk)
  const { root } = await stand.point(await stand.machine('db1'), plains)
  const ids = stand.idOf(plains[2900]!)
  await stand.datastore.catalog.collection.sweep({ tenant: stand.tenant.id, ids })
  const sent: Message[] = []
  const store = stand.datastore.tenantStore(stand.tenant)
  const { idKey, chunkBytes } = stand.tenant
  const image = imageOf(root, sizeOf(plains))
  const failing = downloadImage({ store, image, chunkBytes, idKey, position: 0 }, async (message) => {
    sent.push(kept(message))
  })
  await expect(failing).rejects.toMatchObject({
    code: 'DATA_DAMAGED',
    details: { id: Buffer.from(ids).toString('hex') },
  })
  expect(same(plainsOf(sent), plains.slice(0, plainsOf(sent).length))).toBe(true)
  expect(plainsOf(sent).length).toBeGreaterThan(1000)
})

test('large stored bytes are freed once they are in their frame, also while that waits to be sent', async () => {
  await using stand = await Stand.open()
  const plains = Array.from({ length: 1500 }, plainChunk)
  const { root } = await stand.point(await stand.machine('db1'), plains)
  const store = stand.datastore.tenantStore(stand.tenant)
  const { idKey, chunkBytes } = stand.tenant
  const image = imageOf(root, sizeOf(plains))
  let large = 0
  await downloadImage({ store, image, chunkBytes, idKey, position: 0 }, async (message) => {
    if (message[0] !== LOAD.chunks || message[2].length <= 128 * 1024) return
    large++
    await new Promise((resolve) => setImmediate(resolve))
    expect(message[2].length).toBe(0)
  })
  expect(large).toBeGreaterThan(0)
})

test('a receiver that goes away ends it, also while the next message is being read', async () => {
  await using stand = await Stand.open()
  const plains = Array.from({ length: 3000 }, plainChunk)
  const { root } = await stand.point(await stand.machine('db1'), plains)
  const store = stand.datastore.tenantStore(stand.tenant)
  const { idKey, chunkBytes } = stand.tenant
  let sent = 0
  const send = async (): Promise<void> => {
    if (++sent === 2) throw new VarveError('CANCELLED', 'gone')
  }
  const image = imageOf(root, sizeOf(plains))
  expect(await codeOf(downloadImage({ store, image, chunkBytes, idKey, position: 0 }, send))).toBe('CANCELLED')
  expect(sent).toBe(2)
})
