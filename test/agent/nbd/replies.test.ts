// What the client makes of replies, without a socket: honest ones in any shape, hostile ones, and noise.

import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { PendingRequest } from '../../../agent/nbd/pending-request.ts'
import { receiveReplies } from '../../../agent/nbd/replies.ts'
import { ERROR_CHUNK_BYTES_MAX, STATUS_CHUNK_BYTES_MAX } from '../../../agent/nbd/wire.ts'
import { VarveError } from '../../../protocol/errors.ts'
import {
  chunk,
  dataPayload,
  errorPayload,
  holePayload,
  simpleReply,
  statusPayload,
  u16,
  u32,
} from './scripted-server.ts'

const READ_BYTES = 4096
const READ_OFFSET = 65536
const READ = 1n
const STATUS = 2n
const WRITE = 3n
const CONTEXTS = new Map([
  [10, 'base:allocation'],
  [11, 'qemu:dirty-bitmap:a'],
])

interface Scene {
  readonly target: Buffer
  readonly pending: ReadonlyMap<number, PendingRequest>
  readonly settled: number[]
  /** Hears these bytes; gives the largest buffer that was asked for, in bytes. */
  hear(...parts: readonly Buffer[]): number
}

/** A read, a block status and a write that wait for their answers. */
const stage = (): Scene => {
  const target = Buffer.alloc(READ_BYTES, 0xee)
  const pending = new Map([
    [1, new PendingRequest({ command: 'read', flags: 0, offset: READ_OFFSET, length: READ_BYTES }, { target })],
    [2, new PendingRequest({ command: 'blockStatus', flags: 0, offset: 0, length: 1 << 20 })],
    [3, new PendingRequest({ command: 'write', flags: 0, offset: 0, length: 512 }, { payload: Buffer.alloc(512) })],
  ])
  for (const request of pending.values()) request.outcome.catch(() => undefined)
  const settled: number[] = []
  const inFlight = new Map(pending)
  const receiver = receiveReplies(
    {
      get: (cookie) => inFlight.get(cookie),
      settle: (cookie) => {
        inFlight.delete(cookie)
        settled.push(cookie)
      },
    },
    CONTEXTS,
  )
  const hear = (...parts: readonly Buffer[]): number => {
    let bytes = Buffer.concat(parts)
    let largestBytes = 0
    for (;;) {
      const wanted = receiver.next().value
      largestBytes = Math.max(largestBytes, wanted.length)
      bytes.copy(wanted, 0, 0, wanted.length)
      if (wanted.length > bytes.length) return largestBytes
      bytes = bytes.subarray(wanted.length)
    }
  }
  return { target, pending, settled, hear }
}

const data = (at: number, length: number, flags = 0): Buffer =>
  chunk(READ, 1, dataPayload(READ_OFFSET + at, Buffer.alloc(length, at / 512 + 1)), { flags })
const hole = (at: number, length: number, flags = 0): Buffer =>
  chunk(READ, 2, holePayload(READ_OFFSET + at, length), { flags })
const status = (contextId: number, flags: number, ...extents: readonly (readonly [number, number])[]): Buffer =>
  chunk(STATUS, 5, statusPayload(contextId, ...extents), { flags })

describe('honest replies', () => {
  test('of several chunks in any order, with others between them', async () => {
    const { target, pending, settled, hear } = stage()
    hear(
      data(1024, 3072),
      status(11, 0, [65536, 1], [65536, 0]),
      simpleReply(WRITE),
      hole(512, 512),
      data(0, 512),
      status(10, 1, [1 << 30, 3]),
      chunk(READ, 0, Buffer.alloc(0)),
    )
    expect(settled).toEqual([3, 2, 1])
    await pending.get(1)?.outcome
    expect(target).toEqual(Buffer.concat([Buffer.alloc(512, 1), Buffer.alloc(512, 0), Buffer.alloc(3072, 3)]))
    expect(await pending.get(2)?.outcome).toEqual(
      new Map([
        [
          'qemu:dirty-bitmap:a',
          [
            { length: 65536, flags: 1 },
            { length: 65536, flags: 0 },
          ],
        ],
        ['base:allocation', [{ length: 1 << 20, flags: 3 }]],
      ]),
    )
  })

  test('of errors fail their request only, with the first reason', async () => {
    const { pending, settled, hear } = stage()
    hear(
      data(0, 512),
      chunk(READ, 0x8002, Buffer.concat([errorPayload(5, 'bad sector'), Buffer.alloc(8)]), { flags: 0 }),
      chunk(READ, 0x8001, errorPayload(12), { flags: 1 }),
      simpleReply(WRITE, 28),
      chunk(STATUS, 0x8123, Buffer.concat([errorPayload(22, 'new kind'), Buffer.alloc(5)])),
    )
    expect(settled).toEqual([1, 3, 2])
    await expect(pending.get(1)?.outcome).rejects.toMatchObject({
      code: 'NBD_ERROR',
      details: { errno: 'EIO', command: 'read', offset: READ_OFFSET, length: READ_BYTES },
    })
    await expect(pending.get(2)?.outcome).rejects.toMatchObject({ details: { errno: 'EINVAL' } })
    await expect(pending.get(3)?.outcome).rejects.toMatchObject({ details: { errno: 'ENOSPC' } })
  })
})

describe('hostile replies end in NBD_PROTOCOL', () => {
  test.each<[string, Buffer[]]>([
    ['a wrong magic', [Buffer.alloc(16)]],
    ['an unknown cookie', [simpleReply(99n)]],
    ['a cookie of no safe number', [simpleReply(2n ** 64n - 1n)]],
    ['an answer after the answer', [simpleReply(WRITE), simpleReply(WRITE)]],
    ['a read answered simply', [simpleReply(READ), Buffer.alloc(READ_BYTES)]],
    ['a block status answered simply', [simpleReply(STATUS)]],
    ['data before the range', [data(-1, 512)]],
    ['data behind the range', [data(READ_BYTES - 511, 512)]],
    [
      'data of an enormous length',
      [Buffer.concat([data(0, 512).subarray(0, 16), u32(0xffffffff), dataPayload(0, Buffer.alloc(8))])],
    ],
    ['data without data', [chunk(READ, 1, dataPayload(READ_OFFSET, Buffer.alloc(0)))]],
    ['the same bytes twice', [data(0, 1024), data(512, 1024)]],
    ['a hole over data', [data(0, 1024), hole(1023, 1)]],
    ['a hole larger than the read', [hole(0, 0xffffffff)]],
    ['an empty hole', [hole(0, 0)]],
    ['a hole of a wrong length', [chunk(READ, 2, Buffer.alloc(11))]],
    ['a gap', [data(0, 512), data(1024, 3072, 1)]],
    ['nothing at all for a read', [chunk(READ, 0, Buffer.alloc(0))]],
    ['data for a write', [chunk(WRITE, 1, dataPayload(0, Buffer.alloc(8)))]],
    ['data for a block status', [chunk(STATUS, 1, dataPayload(0, Buffer.alloc(8)))]],
    ['a map for a read', [chunk(READ, 5, statusPayload(10, [READ_BYTES, 0]))]],
    ['a map of an unknown context', [status(12, 1, [65536, 0])]],
    ['a map twice', [status(10, 0, [65536, 0]), status(10, 1, [65536, 0])]],
    ['a map too few', [status(10, 1, [65536, 0])]],
    ['a map too long', [chunk(STATUS, 5, statusPayload(10, [1, 0]), { length: STATUS_CHUNK_BYTES_MAX + 1 })]],
    ['an error too long', [chunk(READ, 0x8001, errorPayload(5), { length: ERROR_CHUNK_BYTES_MAX + 1 })]],
    ['an unknown kind of chunk', [chunk(READ, 77, Buffer.alloc(0))]],
    ['an empty chunk that ends nothing', [chunk(READ, 0, Buffer.alloc(0), { flags: 0 })]],
    ['an empty chunk that is not empty', [chunk(READ, 0, Buffer.alloc(1))]],
    ['errors without end', Array.from({ length: 100 }, () => chunk(READ, 0x8001, errorPayload(5), { flags: 0 }))],
  ])('%s', (_, parts) => {
    const { hear } = stage()
    expect(() => hear(...parts)).toThrow(expect.objectContaining({ code: 'NBD_PROTOCOL' }))
  })

  test('a shutdown ends the connection too, but as the server’s error', () => {
    const { hear } = stage()
    expect(() => hear(simpleReply(WRITE, 108))).toThrow(
      expect.objectContaining({ code: 'NBD_ERROR', details: { errno: 'ESHUTDOWN' } }),
    )
  })

  test('noise behind good magic numbers: a typed error, or a wait with a bounded buffer', () => {
    const types = fc.constantFrom(0, 1, 2, 5, 0x8001, 0x8002, 0x8999, 3)
    const noise = fc
      .tuple(fc.nat(2), types, fc.integer({ min: 1, max: 4 }), fc.nat(64), fc.uint8Array({ maxLength: 64 }))
      .map(([flags, type, cookie, length, payload]) =>
        chunk(BigInt(cookie), type, Buffer.from(payload), { flags, length }),
      )
    const near = fc
      .tuple(fc.integer({ min: -2, max: 10 }), fc.integer({ min: 1, max: 9 }), fc.nat(1), fc.boolean())
      .map(([at, count, flags, isHole]) => (isHole ? hole : data)(at * 512, count * 512, flags))
    fc.assert(
      fc.property(fc.array(fc.oneof(noise, near), { minLength: 1, maxLength: 12 }), (parts) => {
        const { hear } = stage()
        try {
          expect(hear(...parts)).toBeLessThanOrEqual(READ_BYTES)
        } catch (error) {
          if (!(error instanceof VarveError)) throw error
          expect(error.code).toMatch(/^NBD_/)
        }
      }),
      { numRuns: 1000 },
    )
  })

  test('numbers of the test’s own layout are what the client reads', () => {
    expect(data(0, 512).subarray(0, 8)).toEqual(Buffer.concat([u32(0x668e33ef), u16(0), u16(1)]))
  })
})
