// Uploads of real NBD exports to a gateway that the test plays.
import { randomBytes, randomUUID } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { expect, test } from 'vitest'
import type { LeasedDisk } from '../../../agent/drivers/driver.ts'
import { Pace } from '../../../agent/pace.ts'
import { Throttle } from '../../../protocol/host/throttle.ts'
import { uploadImage, type UploadRequest } from '../../../agent/image/upload-disk.ts'
import { systemClock } from '../../../protocol/host/clock.ts'
import { CODEC } from '../../../protocol/chunk.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { ANSWER, DOWN, UP } from '../../../protocol/methods.ts'
import type { Handlers } from '../../../protocol/peer.ts'
import { eventually, tempFolder, type TempFolder } from '../../support/temp.ts'
import { run } from '../../support/run.ts'
import { qemuIo, startQemuNbd } from '../nbd/qemu-nbd.ts'
import { HandClock } from '../../support/hand-clock.ts'
import { peerPair } from '../session/peer-pair.ts'
import { ID_KEY, idOf, UploadGateway } from './upload-gateway.ts'

const CHUNK = 64 * 1024
const MIB = 1024 * 1024

/** 3 MiB and a bit: random, compressible, repeated and zero parts, and a short last chunk. */
const mixedDisk = (): Buffer => {
  const disk = Buffer.alloc(3 * MIB + 5120)
  randomBytes(MIB).copy(disk, 0)
  disk.fill('compressible ', MIB, MIB + 300_000)
  disk.copy(disk, 2 * MIB, 0, 4 * CHUNK)
  randomBytes(5120).copy(disk, 3 * MIB)
  return disk
}

/** What an upload holds while it waits for answers: 12 MiB for each of its threads. */
const HELD_BYTES_MAX = Math.min(8, availableParallelism()) * 12 * MIB

/** A disk whose pages all differ. */
const numberedDisk = (size: number): Buffer => {
  const disk = Buffer.alloc(size)
  for (let at = 0; at < disk.length; at += 4096) disk.writeUInt32LE(at + 1, at)
  return disk
}

const chunksOf = (disk: Buffer): Buffer[] =>
  Array.from({ length: Math.ceil(disk.length / CHUNK) }, (_, index) =>
    disk.subarray(index * CHUNK, (index + 1) * CHUNK),
  )

const diskOf = (size: number): LeasedDisk => ({
  name: 'vda',
  size,
  kind: 'full',
  reason: 'first',
  base: null,
  evidence: '',
  comparedChunks: 0,
  socketPath: '',
  exportName: 'disk',
  dirtyContext: null,
  reread: [],
})

const incrementalDisk = (size: number, socketPath: string): LeasedDisk => ({
  ...diskOf(size),
  kind: 'incremental',
  reason: 'bitmap',
  base: 'vda',
  socketPath,
  dirtyContext: 'qemu:dirty-bitmap:changes',
})

interface Upload {
  readonly disk: Buffer
  readonly handlers: Handlers
  readonly changes?: Partial<UploadRequest>
  readonly chunkBytes?: number
}

/** Uploads a raw disk; resolves with what the agent said it read. */
const upload = async (
  temp: TempFolder,
  { disk, handlers, changes = {}, chunkBytes = CHUNK }: Upload,
): Promise<number> => {
  const file = temp.join(`${randomUUID()}.raw`)
  await writeFile(file, disk)
  await using nbd = await startQemuNbd(temp, '--read-only', '--format=raw', '--detect-zeroes=off', file)
  const { agent } = peerPair(handlers, systemClock)
  let bytesRead = 0
  try {
    await uploadImage({
      peer: agent,
      job: randomUUID(),
      disk: { ...diskOf(disk.length), socketPath: nbd.socketPath },
      chunkBytes,
      idKey: ID_KEY,
      throttle: new Throttle(null, systemClock),
      signal: new AbortController().signal,
      pace: new Pace(systemClock),
      onRead: (bytes) => void (bytesRead += bytes),
      ...changes,
    })
  } finally {
    agent.close(new VarveError('CANCELLED', 'the test is over'))
  }
  return bytesRead
}

const codeOf = async (work: Promise<unknown>): Promise<string> => {
  try {
    await work
    return 'none'
  } catch (thrown) {
    return thrown instanceof VarveError ? thrown.code : String(thrown)
  }
}

test('brings a whole disk, each different chunk once', async () => {
  await using temp = await tempFolder()
  const disk = mixedDisk()
  const gateway = new UploadGateway()
  const bytesRead = await upload(temp, { disk, handlers: { 'image.upload': gateway.serve } })
  expect(gateway.ended).toBe(true)
  expect(gateway.content(disk.length, CHUNK).equals(disk)).toBe(true)
  expect([...gateway.codecs].sort()).toEqual([CODEC.raw, CODEC.zstd])
  expect(gateway.places.filter(({ kind }) => kind === 'zero').length).toBeGreaterThan(10)
  expect(bytesRead).toBeLessThanOrEqual(disk.length)
})

test('sends nothing that the gateway has, and proves what another machine brought', async () => {
  await using temp = await tempFolder()
  const disk = mixedDisk()
  const chunkAt = (index: number): Buffer => disk.subarray(index * CHUNK, (index + 1) * CHUNK)
  const prove = new Map([4, 5, 6].map((index) => [idOf(chunkAt(index)), new Uint8Array(chunkAt(index))]))
  const damaged = new Set([idOf(chunkAt(5))])
  const gateway = new UploadGateway({ have: new Set([8, 9, 10].map((index) => idOf(chunkAt(index)))), prove, damaged })
  await upload(temp, { disk, handlers: { 'image.upload': gateway.serve } })
  expect(gateway.proved.toSorted()).toEqual([...prove.keys()].toSorted())
  const sent = [4, 5, 6, 8, 9, 10, 11].filter((index) => gateway.chunks.has(idOf(chunkAt(index))))
  // the damaged one comes again, and 11 was simply missing
  expect(sent).toEqual([5, 11])
})

test('goes on where the gateway says', async () => {
  await using temp = await tempFolder()
  const disk = mixedDisk()
  const gateway = new UploadGateway({ position: 21 })
  const bytesRead = await upload(temp, { disk, handlers: { 'image.upload': gateway.serve } })
  expect(gateway.content(disk.length, CHUNK).equals(disk.subarray(21 * CHUNK))).toBe(true)
  expect(bytesRead).toBeLessThanOrEqual(disk.length - 21 * CHUNK)
})

test('does nothing for a disk that was finished before', async () => {
  await using temp = await tempFolder()
  const bytesRead = await upload(temp, {
    disk: mixedDisk(),
    handlers: { 'image.upload': async () => ({ root: null }) },
  })
  expect(bytesRead).toBe(0)
})

test('reads what a bitmap calls changed and keeps the rest', async () => {
  await using temp = await tempFolder()
  const image = temp.join('disk.qcow2')
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', image, '4M'])
  await qemuIo(image, 'qcow2', 'write -P 1 0 4M')
  await run('qemu-img', ['bitmap', '--add', '-g', '65536', image, 'changes'])
  await qemuIo(image, 'qcow2', 'write -P 2 1M 70000', 'write -z 2M 64k')
  await using nbd = await startQemuNbd(temp, '--read-only', '--format=qcow2', '-B', 'changes', image)
  const gateway = new UploadGateway()
  const disk = incrementalDisk(4 * MIB, nbd.socketPath)
  const bytesRead = await upload(temp, {
    disk: Buffer.alloc(0),
    handlers: { 'image.upload': gateway.serve },
    changes: { disk },
  })
  const base = Buffer.alloc(4 * MIB, 1)
  const expected = Buffer.from(base)
  expected.fill(2, MIB, MIB + 70_000).fill(0, 2 * MIB, 2 * MIB + CHUNK)
  expect(gateway.content(4 * MIB, CHUNK, base).equals(expected)).toBe(true)
  expect(bytesRead).toBe(2 * CHUNK)
  expect(gateway.places.filter(({ kind }) => kind !== 'keep')).toHaveLength(3)
})

test('holds a bounded number of bytes while the gateway does not answer', async () => {
  await using temp = await tempFolder()
  const disk = numberedDisk(HELD_BYTES_MAX + 32 * MIB)
  let bytesRead = 0
  let most = 0
  const release = Promise.withResolvers<void>()
  const gateway = new UploadGateway({ beforeAnswer: () => release.promise })
  const uploading = upload(temp, {
    disk,
    handlers: { 'image.upload': gateway.serve },
    changes: { onRead: (bytes) => void (bytesRead += bytes) },
  })
  await eventually(() => bytesRead >= HELD_BYTES_MAX - 4 * MIB)
  await new Promise((resolve) => void setTimeout(resolve, 300))
  most = bytesRead
  release.resolve()
  await uploading
  expect(most).toBeLessThanOrEqual(HELD_BYTES_MAX)
  expect(bytesRead).toBe(disk.length)
  expect(gateway.content(disk.length, CHUNK).equals(disk)).toBe(true)
})

test('lets the bytes go that are known to the gateway, and runs ahead of its answers', async () => {
  await using temp = await tempFolder()
  const disk = numberedDisk(HELD_BYTES_MAX + 64 * MIB)
  let bytesRead = 0
  let answers = 0
  const release = Promise.withResolvers<void>()
  const gateway = new UploadGateway({
    have: new Set(chunksOf(disk).map(idOf)),
    // enough of them for the agent to see that little is wanted
    beforeAnswer: async () => (answers++ < 10 ? undefined : release.promise),
  })
  const uploading = upload(temp, {
    disk,
    handlers: { 'image.upload': gateway.serve },
    changes: { onRead: (bytes) => void (bytesRead += bytes) },
  })
  await eventually(() => bytesRead === disk.length)
  release.resolve()
  await uploading
  expect(gateway.chunks.size).toBe(0)
  expect(gateway.places).toHaveLength(disk.length / CHUNK)
})

test('reads again what it let go of and is asked for after all', async () => {
  await using temp = await tempFolder()
  const disk = numberedDisk(64 * MIB)
  const chunks = chunksOf(disk)
  const late = chunks.filter((_, index) => index > 600 && index % 40 < 2)
  const toProve = late.filter((_, index) => index % 3 === 0)
  const known = chunks.filter((chunk) => !late.includes(chunk))
  const gateway = new UploadGateway({
    have: new Set(known.map(idOf)),
    prove: new Map(toProve.map((plain) => [idOf(plain), plain])),
    damaged: new Set(toProve.slice(0, 2).map(idOf)),
  })
  await upload(temp, { disk, handlers: { 'image.upload': gateway.serve } })
  expect(gateway.ended).toBe(true)
  expect(gateway.proved.toSorted()).toEqual(toProve.map(idOf).toSorted())
  // what came is checked against its id on arrival
  expect(gateway.chunks.size).toBe(late.length - toProve.length + 2)
})

test("fails with the gateway's error in the middle, and with CANCELLED when it is given up", async () => {
  await using temp = await tempFolder()
  const disk = randomBytes(24 * MIB)
  const full = new UploadGateway({
    onMessage: async (_kind, count) => {
      if (count === 4) throw new VarveError('STORE_FULL', 'no space')
    },
  })
  expect(await codeOf(upload(temp, { disk, handlers: { 'image.upload': full.serve } }))).toBe('STORE_FULL')
  const abort = new AbortController()
  const slow = new UploadGateway({
    onMessage: async (kind) => {
      if (kind !== UP.chunks) return
      abort.abort(new VarveError('CANCELLED', 'enough'))
      await new Promise(() => undefined)
    },
  })
  const given = upload(temp, { disk, handlers: { 'image.upload': slow.serve }, changes: { signal: abort.signal } })
  expect(await codeOf(given)).toBe('CANCELLED')
  expect(slow.ended).toBe(false)
})

test('a given up upload does not wait for the bandwidth it will not use', async () => {
  await using temp = await tempFolder()
  const clock = new HandClock()
  const throttle = new Throttle(1, clock)
  const abort = new AbortController()
  const gateway = new UploadGateway()
  const given = upload(temp, {
    disk: randomBytes(4 * MIB),
    handlers: { 'image.upload': gateway.serve },
    changes: { throttle, signal: abort.signal },
  })
  const code = codeOf(given)
  await eventually(() => clock.waiting > 0)
  abort.abort(new VarveError('CANCELLED', 'enough'))
  expect(await code).toBe('CANCELLED')
  expect(clock.waiting).toBe(0)
})

test('ends with STREAM_INVALID when the gateway breaks the rules', async () => {
  await using temp = await tempFolder()
  const disk = mixedDisk()
  const start = [DOWN.start, { position: 0, proofKey: new Uint8Array(32) }] as const
  const broken: Handlers['image.upload'][] = [
    // a result in the middle, while answers are awaited
    async (_, call) => {
      await call.send([...start])
      for await (const _message of call.messages) return { root: null }
      return { root: null }
    },
    // no start
    async (_, call) => {
      await call.send([DOWN.answers, new Uint8Array(0)])
      for await (const _message of call.messages);
      return { root: null }
    },
    // more answers than ids
    async (_, call) => {
      await call.send([...start])
      for await (const _message of call.messages)
        await call.send([DOWN.answers, new Uint8Array(1024).fill(ANSWER.have)])
      return { root: null }
    },
    // verdicts that nothing asked for
    async (_, call) => {
      await call.send([...start])
      for await (const _message of call.messages) await call.send([DOWN.verdicts, new Uint8Array(1)])
      return { root: null }
    },
  ]
  for (const serve of broken)
    expect(await codeOf(upload(temp, { disk, handlers: { 'image.upload': serve! } }))).toBe('STREAM_INVALID')
})

test('fails when the export goes away in the middle', async () => {
  await using temp = await tempFolder()
  const file = temp.join('disk.raw')
  // more than what is read ahead
  const size = 80 * MIB
  await writeFile(file, Buffer.alloc(size, 1))
  await using nbd = await startQemuNbd(temp, '--read-only', '--format=raw', file)
  const gateway = new UploadGateway({
    onMessage: async (_kind, count) => {
      if (count === 1) await nbd.kill()
    },
  })
  const disk = { ...diskOf(size), socketPath: nbd.socketPath }
  const uploading = upload(temp, {
    disk: Buffer.alloc(0),
    handlers: { 'image.upload': gateway.serve },
    changes: { disk },
  })
  expect(await codeOf(uploading)).toBe('NBD_ERROR')
})

test('fails at once without an export', async () => {
  await using temp = await tempFolder()
  const disk = { ...diskOf(MIB), socketPath: temp.join('nobody') }
  const uploading = upload(temp, { disk: Buffer.alloc(0), handlers: {}, changes: { disk } })
  expect(await codeOf(uploading)).toBe('NBD_ERROR')
})
