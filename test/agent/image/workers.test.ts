// The worker threads of an upload against a real export: what they read, hash, compress and prove, and how they end.
import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { zstdDecompressSync } from 'node:zlib'
import { expect, test } from 'vitest'
import { keyedHash } from '../../../agent/image/keyed-hash.ts'
import { PICK } from '../../../agent/image/messages.ts'
import type { ChunkRun } from '../../../agent/image/segments.ts'
import { ImageWorkers } from '../../../agent/image/workers.ts'
import { CODEC } from '../../../protocol/chunk.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { tempFolder, type TempFolder } from '../../support/temp.ts'
import { startQemuNbd, type QemuNbd } from '../nbd/qemu-nbd.ts'

const CHUNK = 4096
const idKey = new Uint8Array(32).fill(3)
const proofKey = new Uint8Array(32).fill(4)

const serve = async (temp: TempFolder, disk: Buffer): Promise<QemuNbd> => {
  await writeFile(temp.join('disk.raw'), disk)
  return await startQemuNbd(temp, '--read-only', '--format=raw', temp.join('disk.raw'))
}

const startWorkers = (nbd: QemuNbd, size: number, multiConn = true): ImageWorkers =>
  new ImageWorkers(
    { socketPath: nbd.socketPath, exportName: 'disk', size, chunkBytes: CHUNK, idKey, level: 1 },
    { multiConn },
  )

const reads = (...positions: readonly number[]): ChunkRun[] =>
  positions.map((position) => ({ kind: 'read', position, count: 1 }))

const idAt = (ids: Uint8Array, index: number): Uint8Array => ids.slice(index * 32, (index + 1) * 32)

const codeOf = async (work: Promise<unknown>): Promise<string> => {
  try {
    await work
    return 'none'
  } catch (thrown) {
    return thrown instanceof VarveError ? thrown.code : String(thrown)
  }
}

test('hash, compress and prove what they have read', async () => {
  await using temp = await tempFolder()
  const disk = Buffer.concat([randomBytes(CHUNK), Buffer.alloc(CHUNK), Buffer.alloc(CHUNK, 'text '), randomBytes(1000)])
  await using nbd = await serve(temp, disk)
  await using workers = startWorkers(nbd, disk.length)
  const runs: ChunkRun[] = [
    { kind: 'read', position: 0, count: 3 },
    { kind: 'keep', position: 3, count: 0 },
    { kind: 'read', position: 3, count: 1 },
  ]
  const { ids, zero } = await workers.read(0, runs)
  const chunks = [0, 1, 2, 3].map((index) => disk.subarray(index * CHUNK, (index + 1) * CHUNK))
  expect([...zero]).toEqual([0, 1, 0, 0])
  for (const index of [0, 2, 3]) expect(idAt(ids, index)).toEqual(keyedHash(idKey, chunks[index]!))
  const picks = Uint8Array.of(PICK.send, PICK.none, PICK.send, PICK.prove)
  const prepared = await workers.prepare(0, picks, proofKey)
  expect(prepared.chunks.map(({ index, codec, plainLength }) => ({ index, codec, plainLength }))).toEqual([
    { index: 0, codec: CODEC.raw, plainLength: CHUNK },
    { index: 2, codec: CODEC.zstd, plainLength: CHUNK },
  ])
  expect(Buffer.from(prepared.chunks[0]!.stored).equals(chunks[0]!)).toBe(true)
  expect(zstdDecompressSync(prepared.chunks[1]!.stored).equals(chunks[2]!)).toBe(true)
  expect(prepared.proofs).toEqual([{ index: 3, proof: keyedHash(proofKey, chunks[3]!) }])
  // the segment is held until it is dropped: a damaged copy may be asked for after its proof
  const again = await workers.prepare(0, Uint8Array.of(0, 0, 0, PICK.send), proofKey)
  expect(Buffer.from(again.chunks[0]!.stored).equals(chunks[3]!)).toBe(true)
  workers.drop(0)
})

test('read thousands of scattered chunks over one connection, which takes only so many requests', async () => {
  await using temp = await tempFolder()
  const disk = randomBytes(3000 * CHUNK)
  await using nbd = await serve(temp, disk)
  await using workers = startWorkers(nbd, disk.length, false)
  const segments = [0, 1, 2].map((segment) =>
    workers.read(segment, reads(...Array.from({ length: 1000 }, (_, at) => segment * 1000 + ((at * 7) % 1000)))),
  )
  const hashed = await Promise.all(segments)
  for (const [segment, { ids }] of hashed.entries()) {
    const position = segment * 1000 + ((999 * 7) % 1000)
    expect(idAt(ids, 999)).toEqual(keyedHash(idKey, disk.subarray(position * CHUNK, (position + 1) * CHUNK)))
  }
})

test('fail every question once reading failed', async () => {
  await using temp = await tempFolder()
  await using nbd = await serve(temp, randomBytes(CHUNK))
  await using workers = startWorkers(nbd, 100 * CHUNK, false)
  expect(await codeOf(workers.read(0, reads(50)))).toBe('NBD_ERROR')
  expect(await codeOf(workers.read(1, reads(0)))).toBe('NBD_ERROR')
})

test('end with what they were asked still open, and answer nothing afterwards', async () => {
  await using temp = await tempFolder()
  await using nbd = await serve(temp, randomBytes(64 * CHUNK))
  const workers = startWorkers(nbd, 64 * CHUNK)
  const open = codeOf(workers.read(0, reads(...Array.from({ length: 64 }, (_, at) => at))))
  await workers[Symbol.asyncDispose]()
  expect(['CANCELLED', 'none']).toContain(await open)
  expect(await codeOf(workers.read(1, reads(0)))).toBe('CANCELLED')
  workers.drop(0)
})

test('end without ever reaching the export', async () => {
  await using temp = await tempFolder()
  const nowhere = {
    socketPath: temp.join('nobody'),
    kill: async () => undefined,
    [Symbol.asyncDispose]: async () => undefined,
  }
  await using workers = startWorkers(nowhere, CHUNK)
  expect(await codeOf(workers.read(0, reads(0)))).toBe('NBD_ERROR')
})
