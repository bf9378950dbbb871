// Sending an image: whole and from any chunk, zeroes as runs, messages within a frame, just the chunks that are wanted,
// and what is damaged by name.
import { randomBytes } from 'node:crypto'
import type { ImageRow } from '../../../gateway/catalog/points.ts'
import { expect, test } from 'vitest'
import { downloadImage } from '../../../gateway/restore/download.ts'
import { hex } from '../../../protocol/chunk.ts'
import { readHeads, type BundleHead } from '../../../protocol/chunk-list.ts'
import { VarveError } from '../../../protocol/errors.ts'
import type { Ref } from '../../../protocol/image-tree.ts'
import { LOAD, type Down } from '../../../protocol/methods.ts'
import { Damager } from '../../support/damage.ts'
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
    const sizes = messages.map((message) =>
      message[0] === LOAD.chunks ? readHeads(message[1]).flatMap(({ parts }) => parts).length : 0,
    )
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

/** A machine whose disk was sent as bundles of four. */
const bundled = async (stand: Stand, plains: Plains) => {
  stand.together = 4
  const machine = await stand.machine('db1')
  const point = await stand.point(machine, plains)
  stand.together = 1
  return { machine, ...point }
}

const bundlesIn = (messages: readonly Message[]): BundleHead[] =>
  messages.flatMap((message) => (message[0] === LOAD.chunks ? readHeads(message[1]) : []))

test('what is stored together is sent as it is stored, and from a chunk within it on without what comes before', async () => {
  await using stand = await Stand.open()
  const plains = Array.from({ length: 10 }, plainChunk)
  const { root } = await bundled(stand, plains)
  const sizes = async (position: number) => {
    const messages = await download(stand, root, sizeOf(plains), position)
    expect(same(plainsOf(messages), plains.slice(position))).toBe(true)
    return bundlesIn(messages).map(({ parts }) => parts.length)
  }
  expect(await sizes(0)).toEqual([4, 4, 2])
  expect(await sizes(1)).toEqual([3, 4, 2])
  expect(await sizes(7)).toEqual([1, 2])
})

test('what lies beside a chunk never leaves with it', async () => {
  await using stand = await Stand.open()
  // nothing compresses, so the bytes would be seen
  const [a, b, c, d] = Array.from({ length: 4 }, () => new Uint8Array(randomBytes(CHUNK_BYTES)))
  await bundled(stand, [a!, b!, c!, d!])
  const other = await stand.machine('web1')
  const disk = [c!, new Uint8Array(randomBytes(CHUNK_BYTES)), a!, null, d!, c!, d!]
  // what the first machine brought is proved, and not sent again
  const { root } = await stand.point(other, disk)
  const messages = await download(stand, root, sizeOf(disk))
  expect(same(plainsOf(messages), disk)).toBe(true)
  const ids = bundlesIn(messages).flatMap(({ parts }) => parts.map(({ id }) => hex(id)))
  expect(ids).toEqual(disk.flatMap((plain) => (plain === null ? [] : [hex(stand.idOf(plain))])))
  const sent = messages.map((message) => (message[0] === LOAD.chunks ? Buffer.from(message[2]) : Buffer.alloc(0)))
  const seen = (plain: Uint8Array): number =>
    sent.reduce((sum, bytes) => sum + (bytes.includes(plain.subarray(50, 90)) ? 1 : 0), 0)
  expect([a!, b!, c!, d!].map((plain) => seen(plain) > 0)).toEqual([true, false, true, true])
  expect(bundlesIn(messages).map(({ parts }) => parts.length)).toEqual([1, 1, 1, 1, 2])
})

test('of chunks that compress, those beside them leave the frame', async () => {
  await using stand = await Stand.open()
  const text = (name: string) => new Uint8Array(Buffer.alloc(CHUNK_BYTES, `${name} and so on, `))
  const plains = ['this', 'secret', 'that', 'more'].map(text)
  await bundled(stand, plains)
  const disk = [plains[0]!, null, plains[2]!]
  const { root } = await stand.point(await stand.machine('web1'), disk)
  const messages = await download(stand, root, sizeOf(disk))
  expect(same(plainsOf(messages), disk)).toBe(true)
  for (const message of messages)
    if (message[0] === LOAD.chunks) expect(Buffer.from(message[2]).includes('secret')).toBe(false)
})

test('a bundle whose bytes changed ends the download, whichever of its chunks is wanted', async () => {
  await using stand = await Stand.open()
  const plains = Array.from({ length: 8 }, plainChunk)
  const { root, machine } = await bundled(stand, plains)
  await new Damager(stand.folder).flip(stand.idOf(plains[5]!))
  expect(await codeOf(download(stand, root, sizeOf(plains), 6))).toBe('DATA_DAMAGED')
  expect(await codeOf(download(stand, root, sizeOf(plains)))).toBe('DATA_DAMAGED')
  // the next backup brings all of it
  const { catalog } = stand.datastore
  const known = await catalog.damage.page({ tenant: stand.tenant.id, after: null, limit: 99 })
  expect(known.map(({ id }) => id).sort()).toEqual(
    plains
      .slice(4)
      .map((plain) => hex(stand.idOf(plain)))
      .sort(),
  )
  const { idKey, chunkBytes } = stand.tenant
  const store = stand.datastore.tenantStore(stand.tenant)
  const image = imageOf(root, sizeOf(plains))
  const messages: Message[] = []
  await downloadImage({ store, image, chunkBytes, idKey, position: 0, skipDamaged: true }, async (message) => {
    messages.push(kept(message))
  })
  expect(messages.slice(1).map((message) => (message[0] === LOAD.lost ? message[1] : 'chunks'))).toEqual(['chunks', 4])
  await stand.point(machine, plains, 40)
  expect(same(plainsOf(await download(stand, root, sizeOf(plains))), plains)).toBe(true)
})
