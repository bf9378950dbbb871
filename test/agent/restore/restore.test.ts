// Restores from a gateway that the test plays: breaks, damage and broken rules, into a target that notes every byte.
import { randomBytes, randomUUID } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { systemClock } from '../../../protocol/host/clock.ts'
import { keyedHash } from '../../../protocol/host/keyed-hash.ts'
import { makeRawFile } from '../../../agent/restore/raw-target.ts'
import { restoreDisk, type Lost, type Restored } from '../../../agent/restore/restore.ts'
import { commitTarget, type Target } from '../../../agent/restore/target.ts'
import { readHeads } from '../../../protocol/chunk-list.ts'
import { chunkCount } from '../../../protocol/chunk.ts'
import { asVarveError, VarveError } from '../../../protocol/errors.ts'
import { nodeKey, TreeBuilder, type Ref } from '../../../protocol/image-tree.ts'
import { LOAD, type Down } from '../../../protocol/methods.ts'
import type { Handler, Peer } from '../../../protocol/peer.ts'
import { tempFolder } from '../../support/temp.ts'
import {
  chunksMessage,
  rawChunk,
  splitChunks,
  wireChunk,
  zstdChunk,
  type WireChunk,
} from '../../protocol/wire-chunks.ts'
import { peerPair } from '../session/peer-pair.ts'
import { codeOf } from './code-of.ts'

const CHUNK = 4096
const idKey = new Uint8Array(32).fill(5)
type Message = Down<'image.download'>

/** 100 chunks, some runs of them zero, the last one short. */
const exampleDisk = (): Buffer => {
  const disk = randomBytes(99 * CHUNK + 700)
  disk.fill(0, 10 * CHUNK, 30 * CHUNK)
  disk.fill(0, 64 * CHUNK, 65 * CHUNK)
  disk.fill('text', 70 * CHUNK, 80 * CHUNK)
  return disk
}

const chunkAt = (disk: Buffer, position: number): Buffer => disk.subarray(position * CHUNK, (position + 1) * CHUNK)
const isZero = (chunk: Buffer): boolean => chunk.every((byte) => byte === 0)

const chunkOf = (plain: Buffer): WireChunk => wireChunk(keyedHash(idKey, plain), plain)

const rootOf = (disk: Buffer): Ref => {
  const chunks = chunkCount(disk.length, CHUNK)
  const tree = new TreeBuilder({ chunks, hash: keyedHash, nodeKey: nodeKey(keyedHash, idKey), onNode: () => undefined })
  for (let at = 0; at < chunks; at++) {
    const chunk = chunkAt(disk, at)
    if (isZero(chunk)) tree.placeZeroes(1)
    else tree.place(0, keyedHash(idKey, chunk))
  }
  return tree.finish()
}

/** The messages that a gateway sends from a position on, three chunks in each. */
const messagesOf = (disk: Buffer, position: number): Message[] => {
  const start = { size: disk.length, chunkBytes: CHUNK, root: rootOf(disk), idKey, position }
  const messages: Message[] = [[LOAD.start, start]]
  let waiting: WireChunk[] = []
  let zeroes = 0
  const flush = (): void => {
    if (waiting.length > 0) messages.push(chunksMessage(LOAD.chunks, ...waiting))
    if (zeroes > 0) messages.push([LOAD.zero, zeroes])
    waiting = []
    zeroes = 0
  }
  for (let at = position; at < chunkCount(disk.length, CHUNK); at++) {
    const zero = isZero(chunkAt(disk, at))
    if (zero !== zeroes > 0 || waiting.length === 3) flush()
    if (zero) zeroes++
    else waiting.push(chunkOf(chunkAt(disk, at)))
  }
  flush()
  return messages
}

/** A target in memory that insists on ascending writes without gaps. */
class NotingTarget implements Target {
  readonly bytes: Buffer
  committed = false
  written = 0

  constructor(size: number) {
    this.bytes = Buffer.alloc(size, 0xee)
  }

  async write(offset: number, bytes: Uint8Array): Promise<void> {
    if (offset !== this.written) throw new Error(`a write at ${offset}, ${this.written} were written`)
    this.bytes.set(bytes, offset)
    this.written += bytes.length
  }

  async zero(offset: number, length: number): Promise<void> {
    await this.write(offset, new Uint8Array(length))
  }

  async seal(): Promise<void> {}

  async check(): Promise<void> {}

  async publish(): Promise<readonly string[]> {
    if (this.written !== this.bytes.length) throw new Error('committed before the end')
    this.committed = true
    return []
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

interface Run {
  readonly disk: Buffer
  readonly target: Target
  /** Serves each connection in turn; the last one also those after it. */
  readonly serve: readonly Handler<'image.download'>[]
  readonly root?: Ref
  readonly skipDamaged?: boolean
  readonly signal?: AbortSignal
  readonly onProgress?: (doneBytes: number, bytesReceived: number) => void
}

const restore = async ({ disk, target, serve, ...options }: Run): Promise<Restored> => {
  let connection = 0
  const repeat = async <R>(work: (peer: Peer) => Promise<R>): Promise<R> => {
    for (;;) {
      const handler = serve[Math.min(connection++, serve.length - 1)]!
      const pair = peerPair({ 'image.download': handler }, systemClock)
      peers.set(handler, pair.gateway)
      try {
        return await work(pair.agent)
      } catch (thrown) {
        if (!asVarveError(thrown).endsConnection) throw thrown
      } finally {
        pair.agent.close(new VarveError('CANCELLED', 'done'))
      }
    }
  }
  const restored = await restoreDisk({
    repeat,
    point: randomUUID(),
    disk: 'vda',
    size: disk.length,
    root: options.root ?? rootOf(disk),
    target,
    skipDamaged: options.skipDamaged ?? false,
    signal: options.signal ?? new AbortController().signal,
    onProgress: options.onProgress ?? (() => undefined),
  })
  await commitTarget(target)
  return restored
}

/** The gateway's side of the connection that a handler serves now. */
const peers = new Map<Handler<'image.download'>, Peer>()

const whole =
  (disk: Buffer): Handler<'image.download'> =>
  async ({ position }, call) => {
    for (const message of messagesOf(disk, position)) await call.send(message)
    return {}
  }

/** Sends so many messages, then the connection breaks. */
const breaking = (disk: Buffer, after: number): Handler<'image.download'> => {
  const handler: Handler<'image.download'> = async ({ position }, call) => {
    for (const message of messagesOf(disk, position).slice(0, after)) await call.send(message)
    peers.get(handler)!.close(new VarveError('GOING_AWAY', 'the gateway is stopping'))
    return {}
  }
  return handler
}

const scripted =
  (...messages: readonly Message[]): Handler<'image.download'> =>
  async (_, call) => {
    for (const message of messages) await call.send(message)
    return {}
  }

test('writes the disk from left to right and tells how far it is', async () => {
  const disk = exampleDisk()
  const target = new NotingTarget(disk.length)
  const progress: number[] = []
  await restore({ disk, target, serve: [whole(disk)], onProgress: (done) => void progress.push(done) })
  expect(target.bytes.equals(disk)).toBe(true)
  expect(target.committed).toBe(true)
  expect(progress).toEqual(progress.toSorted((a, b) => a - b))
  expect(progress.at(-1)).toBe(disk.length)
})

test('goes on after a break at every message, and neither loses nor repeats a byte', async () => {
  const disk = exampleDisk()
  for (let after = 0; after <= messagesOf(disk, 0).length; after += 3) {
    const target = new NotingTarget(disk.length)
    await restore({ disk, target, serve: [breaking(disk, after), whole(disk)] })
    expect(target.bytes.equals(disk)).toBe(true)
    expect(target.committed).toBe(true)
  }
  const target = new NotingTarget(disk.length)
  await restore({
    disk,
    target,
    serve: [breaking(disk, 4), breaking(disk, 0), breaking(disk, 9), breaking(disk, 1), whole(disk)],
  })
  expect(target.bytes.equals(disk)).toBe(true)
})

test('restores disks that are all zero, or have no bytes at all', async () => {
  const zero = Buffer.alloc(130 * CHUNK + 1)
  const target = new NotingTarget(zero.length)
  await restore({ disk: zero, target, serve: [whole(zero)], root: null })
  expect(target.bytes.equals(zero)).toBe(true)
  const nothing = new NotingTarget(0)
  await restore({ disk: Buffer.alloc(0), target: nothing, serve: [whole(Buffer.alloc(0))], root: null })
  expect(nothing.committed).toBe(true)
})

test('a disk that is not the one the point names never gets its name', async () => {
  await using temp = await tempFolder()
  const disk = exampleDisk()
  const other = Buffer.from(disk)
  other[5 * CHUNK]! ^= 1
  const into = async (run: Omit<Run, 'disk' | 'target'>): Promise<string> => {
    await using target = await makeRawFile(temp.join('disk.raw'), disk.length, { force: false })
    return await codeOf(restore({ disk, target, ...run }))
  }
  // good chunks, but of another disk than the root says
  const [, ...rest] = messagesOf(other, 0)
  expect(await into({ serve: [scripted(messagesOf(disk, 0)[0]!, ...rest)] })).toBe('DATA_DAMAGED')
  // bytes that are not what their id says
  const messages = messagesOf(disk, 0)
  const [, heads, stored] = messages[1] as Extract<Message, [typeof LOAD.chunks, ...unknown[]]>
  const [{ id, plainLength }, ...others] = splitChunks({ heads, stored }) as [WireChunk, ...WireChunk[]]
  const forged = chunksMessage(LOAD.chunks, rawChunk(id, new Uint8Array(plainLength)), ...others)
  expect(await into({ serve: [scripted(messages[0]!, forged, ...messages.slice(2))] })).toBe('DATA_DAMAGED')
  expect(await readdir(temp.path)).toEqual([])
  expect(await into({ serve: [whole(disk)] })).toBe('none')
  expect((await readFile(temp.join('disk.raw'))).equals(disk)).toBe(true)
})

/** The messages of a disk with every `nth` one of chunks said to be lost, and the disk as it is then. */
const withLost = (disk: Buffer, nth: number): { messages: Message[]; disk: Buffer; lost: Lost[] } => {
  const expected = Buffer.from(disk)
  const lost: Lost[] = []
  let position = 0
  const messages = messagesOf(disk, 0).map((message, index): Message => {
    if (message[0] === LOAD.start) return message
    const count = message[0] === LOAD.chunks ? readHeads(message[1]).length : message[1]
    const offset = position * CHUNK
    position += count
    if (message[0] !== LOAD.chunks || index % nth !== 0) return message
    const length = Math.min(count * CHUNK, disk.length - offset)
    expected.fill(0, offset, offset + length)
    const last = lost.at(-1)
    if (last !== undefined && last.offset + last.length === offset)
      lost[lost.length - 1] = { ...last, length: last.length + length }
    else lost.push({ offset, length })
    return [LOAD.lost, count]
  })
  return { messages, disk: expected, lost }
}

test('goes on around what is lost when told to, and says exactly what it is', async () => {
  const whole = exampleDisk()
  for (const nth of [1, 2, 3]) {
    const { messages, disk, lost } = withLost(whole, nth)
    expect(lost.length).toBeGreaterThan(0)
    const target = new NotingTarget(disk.length)
    const run = { disk: whole, target, skipDamaged: true, serve: [scripted(...messages)] }
    const lostBytes = lost.reduce((sum, { length }) => sum + length, 0)
    expect(await restore(run)).toEqual({ lost, lostCount: lost.length, lostBytes, keptBytes: 0 })
    expect(target.bytes.equals(disk)).toBe(true)
    expect(target.committed).toBe(true)
    // nobody who did not ask for it is given a disk with holes
    const refusing = new NotingTarget(disk.length)
    expect(await codeOf(restore({ ...run, target: refusing, skipDamaged: false }))).toBe('STREAM_INVALID')
    expect(refusing.committed).toBe(false)
  }
})

test('a disk that lost nothing is checked up to its root, also when told to go on around damage', async () => {
  const disk = exampleDisk()
  const target = new NotingTarget(disk.length)
  expect(await restore({ disk, target, skipDamaged: true, serve: [whole(disk)] })).toEqual({
    lost: [],
    lostCount: 0,
    lostBytes: 0,
    keptBytes: 0,
  })
  const other = Buffer.from(disk)
  other[5 * CHUNK]! ^= 1
  const [start] = messagesOf(disk, 0)
  const forged = scripted(start!, ...messagesOf(other, 0).slice(1))
  const refused = new NotingTarget(disk.length)
  expect(await codeOf(restore({ disk, target: refused, skipDamaged: true, serve: [forged] }))).toBe('DATA_DAMAGED')
  const beyond = scripted(start!, [LOAD.lost, 10_000])
  expect(await codeOf(restore({ disk, target: refused, skipDamaged: true, serve: [beyond] }))).toBe('STREAM_INVALID')
  expect(refused.committed).toBe(false)
})

test('ends with a typed error when the gateway breaks the rules', async () => {
  const disk = exampleDisk()
  const messages = messagesOf(disk, 0)
  const [start, ...rest] = messages
  const begin = (start as Extract<Message, [typeof LOAD.start, unknown]>)[1]
  const one = chunkOf(chunkAt(disk, 0))
  const small = chunkOf(Buffer.alloc(100, 1))
  const cases: [string, Handler<'image.download'>][] = [
    ['STREAM_INVALID', scripted()],
    ['STREAM_INVALID', scripted(...rest)],
    ['STREAM_INVALID', scripted([LOAD.start, { ...begin, position: 1 }])],
    ['STREAM_INVALID', scripted([LOAD.start, { ...begin, size: begin.size + 1 }])],
    ['STREAM_INVALID', scripted([LOAD.start, { ...begin, chunkBytes: 5000 }])],
    ['STREAM_INVALID', scripted([LOAD.start, { ...begin, root: new Uint8Array(32) }])],
    ['STREAM_INVALID', scripted(start!, [LOAD.zero, 101])],
    ['STREAM_INVALID', scripted(start!, [LOAD.zero, 99], chunksMessage(LOAD.chunks, one, one))],
    ['DATA_DAMAGED', scripted(start!, chunksMessage(LOAD.chunks, small))],
    ['IMAGE_INCOMPLETE', scripted(...messages.slice(0, 5))],
    ['NOT_FOUND', async () => Promise.reject(new VarveError('NOT_FOUND', 'no such point'))],
  ]
  for (const [code, serve] of cases) {
    const target = new NotingTarget(disk.length)
    expect(await codeOf(restore({ disk, target, serve: [serve] }))).toBe(code)
    expect(target.committed).toBe(false)
  }
})

test('takes no message that would unpack to more than a frame', async () => {
  const size = 1024 * 1024 * 1024
  const chunkBytes = 4 * 1024 * 1024
  const plain = Buffer.alloc(chunkBytes, 1)
  const bomb = zstdChunk(keyedHash(idKey, plain), plain)
  const root = new Uint8Array(32)
  const start: Message = [LOAD.start, { size, chunkBytes, root, idKey, position: 0 }]
  const serve = scripted(start, chunksMessage(LOAD.chunks, ...Array.from({ length: 200 }, () => bomb)))
  const target = new NotingTarget(size / 1024)
  const peer = peerPair({ 'image.download': serve }, systemClock).agent
  const work = restoreDisk({
    repeat: (part) => part(peer),
    point: randomUUID(),
    disk: 'vda',
    size,
    root,
    target,
    skipDamaged: false,
    signal: new AbortController().signal,
    onProgress: () => undefined,
  })
  expect(await codeOf(work)).toBe('STREAM_INVALID')
  peer.close(new VarveError('CANCELLED', 'done'))
})

test('is given up when it is interrupted', async () => {
  const disk = exampleDisk()
  const target = new NotingTarget(disk.length)
  const abort = new AbortController()
  const serve: Handler<'image.download'> = async ({ position }, call) => {
    for (const message of messagesOf(disk, position).slice(0, 20)) await call.send(message)
    await new Promise(() => undefined)
    return {}
  }
  const onProgress = (): void => abort.abort(new VarveError('CANCELLED', 'interrupted'))
  expect(await codeOf(restore({ disk, target, serve: [serve], signal: abort.signal, onProgress }))).toBe('CANCELLED')
  expect(target.committed).toBe(false)
})

test("fails with the target's own error", async () => {
  const disk = exampleDisk()
  const target = new NotingTarget(disk.length)
  target.zero = () => Promise.reject(new VarveError('TARGET_INVALID', 'no space left'))
  expect(await codeOf(restore({ disk, target, serve: [whole(disk)] }))).toBe('TARGET_INVALID')
})
