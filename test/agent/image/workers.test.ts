// The worker threads of an upload against a real export: what they read, hash, compress and prove, and how they end.
import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { expect, test } from 'vitest'
import { keyedHash } from '../../../protocol/host/keyed-hash.ts'
import type { Framed } from '../../../protocol/host/chunk-steps.ts'
import { PICK, type WorkerSetup } from '../../../agent/image/messages.ts'
import type { ChunkRun } from '../../../agent/image/segments.ts'
import { IDLE_MS, ImageThreads } from '../../../agent/image/image-threads.ts'
import { ImageWorkers } from '../../../agent/image/workers.ts'
import { CODEC } from '../../../protocol/chunk.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { HandClock } from '../../support/hand-clock.ts'
import { eventually, tempFolder, type TempFolder } from '../../support/temp.ts'
import { plainOf, splitChunks } from '../../protocol/wire-chunks.ts'
import { startQemuNbd, type QemuNbd } from '../nbd/qemu-nbd.ts'

const CHUNK = 4096
const idKey = new Uint8Array(32).fill(3)
const proofKey = new Uint8Array(32).fill(4)

const serve = async (temp: TempFolder, disk: Buffer): Promise<QemuNbd> => {
  await writeFile(temp.join('disk.raw'), disk)
  return await startQemuNbd(temp, '--read-only', '--format=raw', temp.join('disk.raw'))
}

const setupOf = ({ socketPath }: QemuNbd, size: number): WorkerSetup => ({
  socketPath,
  exportName: 'disk',
  size,
  chunkBytes: CHUNK,
  idKey,
})

const startWorkers = (nbd: QemuNbd, size: number, multiConn = true): ImageWorkers =>
  new ImageWorkers(setupOf(nbd, size), { multiConn })

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
  const { ids, zero } = await workers.read(0, runs, true)
  const chunks = [0, 1, 2, 3].map((index) => disk.subarray(index * CHUNK, (index + 1) * CHUNK))
  expect([...zero]).toEqual([0, 1, 0, 0])
  for (const index of [0, 2, 3]) expect(idAt(ids, index)).toEqual(keyedHash(idKey, chunks[index]!))
  const picks = Uint8Array.of(PICK.send, PICK.none, PICK.send, PICK.prove)
  const prepared = await workers.prepare(0, picks, proofKey)
  const sent = splitChunks(prepared.chunks!)
  expect(sent.map(({ id, codec, plainLength }) => ({ id, codec, plainLength }))).toEqual([
    { id: idAt(ids, 0), codec: CODEC.raw, plainLength: CHUNK },
    { id: idAt(ids, 2), codec: CODEC.zstd, plainLength: CHUNK },
  ])
  for (const [at, index] of [0, 2].entries()) expect(chunks[index]!.equals(plainOf(sent[at]!))).toBe(true)
  expect(prepared.proofs).toEqual([{ index: 3, proof: keyedHash(proofKey, chunks[3]!) }])
  // the segment is held until it is dropped: a damaged copy may be asked for after its proof
  const again = await workers.prepare(0, Uint8Array.of(0, 0, 0, PICK.send), proofKey)
  expect(splitChunks(again.chunks!).map(({ id }) => id)).toEqual([idAt(ids, 3)])
  expect(Buffer.from(again.chunks!.stored).equals(chunks[3]!)).toBe(true)
  const proved = await workers.prepare(0, Uint8Array.of(PICK.prove, 0, 0, 0), proofKey)
  expect(proved.chunks).toBeNull()
  expect(proved.proofs).toHaveLength(1)
  workers.drop(0)
})

test('what is prepared stays as it is while more is prepared, and every chunk of it is one after the other', async () => {
  await using temp = await tempFolder()
  // some that compress, some that do not, and a short one at the end
  const disk = Buffer.concat([
    ...Array.from({ length: 31 }, (_, index) => (index % 3 === 0 ? randomBytes(CHUNK) : Buffer.alloc(CHUNK, index))),
    randomBytes(777),
  ])
  await using nbd = await serve(temp, disk)
  await using workers = startWorkers(nbd, disk.length, false)
  const positions = Array.from({ length: 32 }, (_, at) => at)
  await workers.read(0, reads(...positions), true)
  const prepared: Framed[] = []
  for (const skipped of positions) {
    const picks = Uint8Array.from(positions, (at) => (at === skipped ? PICK.none : PICK.send))
    prepared.push((await workers.prepare(0, picks, proofKey)).chunks!)
  }
  for (const [skipped, chunks] of prepared.entries()) {
    const expected = positions.filter((at) => at !== skipped).map((at) => disk.subarray(at * CHUNK, (at + 1) * CHUNK))
    const sent = splitChunks(chunks)
    expect(sent.map(({ id }) => id)).toEqual(expected.map((plain) => keyedHash(idKey, plain)))
    expect(Buffer.concat(sent.map(plainOf)).equals(Buffer.concat(expected))).toBe(true)
  }
})

test('read thousands of scattered chunks over one connection, which takes only so many requests', async () => {
  await using temp = await tempFolder()
  const disk = randomBytes(3000 * CHUNK)
  await using nbd = await serve(temp, disk)
  await using workers = startWorkers(nbd, disk.length, false)
  const segments = [0, 1, 2, 3, 4, 5].map((segment) =>
    workers.read(segment, reads(...Array.from({ length: 500 }, (_, at) => segment * 500 + ((at * 7) % 500))), true),
  )
  const hashed = await Promise.all(segments)
  for (const [segment, { ids }] of hashed.entries()) {
    const position = segment * 500 + ((499 * 7) % 500)
    expect(idAt(ids, 499)).toEqual(keyedHash(idKey, disk.subarray(position * CHUNK, (position + 1) * CHUNK)))
  }
})

test('fail every question once reading failed', async () => {
  await using temp = await tempFolder()
  await using nbd = await serve(temp, randomBytes(CHUNK))
  await using workers = startWorkers(nbd, 100 * CHUNK, false)
  expect(await codeOf(workers.read(0, reads(50), true))).toBe('NBD_ERROR')
  expect(await codeOf(workers.read(1, reads(0), true))).toBe('NBD_ERROR')
})

test('end with what they were asked still open, and answer nothing afterwards', async () => {
  await using temp = await tempFolder()
  await using nbd = await serve(temp, randomBytes(64 * CHUNK))
  const workers = startWorkers(nbd, 64 * CHUNK)
  const open = codeOf(workers.read(0, reads(...Array.from({ length: 64 }, (_, at) => at)), true))
  await workers[Symbol.asyncDispose]()
  expect(['CANCELLED', 'none']).toContain(await open)
  expect(await codeOf(workers.read(1, reads(0), true))).toBe('CANCELLED')
  workers.drop(0)
})

test('end without ever reaching the export', async () => {
  await using temp = await tempFolder()
  const nowhere = {
    pid: 0,
    socketPath: temp.join('nobody'),
    kill: async () => undefined,
    [Symbol.asyncDispose]: async () => undefined,
  }
  await using workers = startWorkers(nowhere, CHUNK)
  expect(await codeOf(workers.read(0, reads(0), true))).toBe('NBD_ERROR')
})

test('end while their export’s server is silent, and those of other uploads go on', async () => {
  await using temp = await tempFolder()
  await using nbd = await serve(temp, randomBytes(8 * CHUNK))
  const silent = createServer(() => {})
  const socketPath = temp.join('silent')
  await new Promise<void>((resolve) => silent.listen(socketPath, resolve))
  const threads = new ImageThreads(new HandClock())
  const setup = { exportName: 'disk', size: 8 * CHUNK, chunkBytes: CHUNK, idKey }
  await using others = new ImageWorkers({ ...setup, socketPath: nbd.socketPath }, { multiConn: true, threads })
  const before = threads.count
  {
    await using workers = new ImageWorkers({ ...setup, socketPath }, { multiConn: true, threads })
    workers.read(0, reads(0), true).catch(() => {})
  }
  await others.read(0, reads(0), true)
  expect(threads.count).toBe(before)
  silent.close()
})

test('take the threads of uploads before them, beside one another, until nobody has used them for a while', async () => {
  await using temp = await tempFolder()
  const disk = randomBytes(64 * CHUNK)
  await using nbd = await serve(temp, disk)
  const clock = new HandClock()
  const threads = new ImageThreads(clock)
  const setup = setupOf(nbd, disk.length)
  const check = async (workers: ImageWorkers, position: number): Promise<void> => {
    const { ids } = await workers.read(position, reads(position), false)
    expect(ids).toEqual(keyedHash(idKey, disk.subarray(position * CHUNK, (position + 1) * CHUNK)))
  }
  {
    await using first = new ImageWorkers({ ...setup, size: 100 * CHUNK }, { multiConn: true, threads })
    await using second = new ImageWorkers(setup, { multiConn: true, threads })
    expect([first.count, second.count]).toEqual([threads.count, threads.count])
    await Promise.all([check(first, 1), check(second, 2), check(first, 3), check(second, 4)])
    // what one of them fails with is not the other's
    expect(await codeOf(first.read(5, reads(80), false))).toBe('NBD_ERROR')
    expect(await codeOf(first.read(6, reads(1), false))).toBe('NBD_ERROR')
    await check(second, 7)
  }
  const kept = threads.count
  expect(kept).toBeGreaterThan(0)
  const options = { most: kept, onEnd: () => undefined }
  const before = threads.open(setup, options)
  await threads.close(before.image)
  clock.advance(IDLE_MS - 1)
  const after = threads.open(setup, options)
  for (const thread of after.threads) expect(before.threads.includes(thread)).toBe(true)
  await threads.close(after.image)
  {
    await using later = new ImageWorkers(setup, { multiConn: false, threads })
    expect(later.count).toBe(1)
    clock.advance(IDLE_MS)
    await check(later, 8)
    expect(threads.count).toBe(kept)
  }
  clock.advance(IDLE_MS)
  expect(threads.count).toBe(0)
})

test('a thread that does not close an image in time gets no further one, and the others in it go on', async () => {
  await using temp = await tempFolder()
  const disk = randomBytes(8 * CHUNK)
  await using nbd = await serve(temp, disk)
  const setup = setupOf(nbd, disk.length)
  const threads = new ImageThreads(new HandClock(), { closeTimeoutMs: 1 })
  const failures: VarveError[] = []
  const options = { most: 8, onEnd: (error: VarveError) => void failures.push(error) }
  const late = threads.open(setup, options)
  await using other = new ImageWorkers(setup, { multiConn: true, threads })
  const before = threads.count
  const closing = threads.close(late.image)
  // whatever they answer is heard of too late
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50)
  await closing
  const { ids } = await other.read(0, reads(5), false)
  expect(ids).toEqual(keyedHash(idKey, disk.subarray(5 * CHUNK, 6 * CHUNK)))
  const next = threads.open(setup, options)
  for (const thread of next.threads) expect(late.threads.includes(thread)).toBe(false)
  expect(threads.count).toBe(2 * before)
  await other[Symbol.asyncDispose]()
  await eventually(() => threads.count === before)
  expect(failures).toEqual([])
  await threads.close(next.image)
})
