// NBD requests and replies between bytes and meaning, and hostile bytes that must end in NBD_PROTOCOL.
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  COMMAND,
  decodeErrorChunk,
  decodeHole,
  decodeReplyStart,
  decodeStatus,
  encodeRequest,
  errnoName,
  type CommandName,
} from '../../../agent/nbd/wire.ts'
import { asVarveError } from '../../../protocol/errors.ts'
import { chunk, decodeRequest, errorPayload, holePayload, simpleReply, statusPayload } from './scripted-server.ts'

const codeOf = (decode: () => unknown): string => {
  try {
    decode()
    return 'fine'
  } catch (error) {
    return asVarveError(error).code
  }
}

test('every request reads back as it was meant', () => {
  const numbers: Record<CommandName, number> = {
    read: 0,
    write: 1,
    disconnect: 2,
    flush: 3,
    trim: 4,
    writeZeroes: 6,
    blockStatus: 7,
  }
  fc.assert(
    fc.property(
      fc.constantFrom(...(Object.keys(COMMAND) as CommandName[])),
      fc.nat(65535),
      fc.maxSafeNat(),
      fc.maxSafeNat(),
      fc.nat(0xffffffff),
      (command, flags, cookie, offset, length) => {
        const heard = decodeRequest(encodeRequest({ command, flags, offset, length }, cookie))
        expect(heard).toEqual({ command: numbers[command], flags, cookie: BigInt(cookie), offset, length })
      },
    ),
  )
})

test('replies of both kinds read back', () => {
  fc.assert(
    fc.property(fc.maxSafeNat(), fc.nat(0xffffffff), fc.nat(65535), fc.nat(65535), (cookie, errno, flags, type) => {
      expect(decodeReplyStart(simpleReply(BigInt(cookie), errno))).toEqual({ kind: 'simple', cookie, errno })
      const structured = chunk(BigInt(cookie), type, Buffer.alloc(0), { flags }).subarray(0, 16)
      expect(decodeReplyStart(structured)).toEqual({ kind: 'structured', cookie, flags, type })
    }),
  )
})

test('holes and errors read back', () => {
  expect(decodeHole(holePayload(2 ** 40, 4096))).toEqual({ offset: 2 ** 40, length: 4096 })
  expect(decodeErrorChunk(errorPayload(5, 'bad sector'), 0x8001)).toEqual({ errno: 5, text: 'bad sector' })
  expect(decodeErrorChunk(Buffer.concat([errorPayload(28), Buffer.alloc(8)]), 0x8002).errno).toBe(28)
  expect([errnoName(5), errnoName(108), errnoName(7)]).toEqual(['EIO', 'ESHUTDOWN', 'E7'])
})

test('a block status reads back, clipped to its range', () => {
  const lengths = fc.array(fc.integer({ min: 1, max: 1 << 20 }), { minLength: 1, maxLength: 50 })
  fc.assert(
    fc.property(lengths, fc.nat(1 << 20), fc.nat(0xffffffff), (lengths, over, contextId) => {
      const extents = lengths.map((length, index) => ({ length, flags: index }))
      const sent = lengths.map((length, index) => [length + (index === lengths.length - 1 ? over : 0), index] as const)
      const total = lengths.reduce((sum, length) => sum + length, 0)
      expect(decodeStatus(statusPayload(contextId, ...sent), total)).toEqual({ contextId, extents })
    }),
  )
})

test.each([
  ['nothing behind its context', statusPayload(1)],
  ['half an extent', statusPayload(1, [4096, 0]).subarray(0, 8)],
  ['an empty extent', statusPayload(1, [0, 0], [4096, 0])],
  ['an extent behind its range', statusPayload(1, [8192, 0], [1, 0])],
])('a block status with %s is refused', (_, payload) => {
  expect(codeOf(() => decodeStatus(payload, 8192))).toBe('NBD_PROTOCOL')
})

test.each([
  ['a text that is longer than the chunk', errorPayload(5, 'text').subarray(0, 8), 0x8001],
  ['bytes behind its text', Buffer.concat([errorPayload(5, 'text'), Buffer.alloc(1)]), 0x8001],
  ['no offset where one belongs', errorPayload(5, 'text'), 0x8002],
  ['no error number', errorPayload(0, 'text'), 0x8001],
])('an error chunk with %s is refused', (_, payload, type) => {
  expect(codeOf(() => decodeErrorChunk(payload, type))).toBe('NBD_PROTOCOL')
})

test('any bytes give a value or NBD_PROTOCOL, nothing else', () => {
  const decoders: readonly ((bytes: Buffer) => unknown)[] = [
    (bytes) => decodeReplyStart(Buffer.concat([bytes, Buffer.alloc(16)]).subarray(0, 16)),
    decodeHole,
    (bytes) => decodeStatus(bytes, 65536),
    (bytes) => decodeErrorChunk(bytes, 0x8001),
    (bytes) => decodeErrorChunk(bytes, 0x8002),
    (bytes) => decodeErrorChunk(bytes, 0xffff),
  ]
  fc.assert(
    fc.property(fc.constantFrom(...decoders), fc.uint8Array({ maxLength: 64 }), (decode, bytes) => {
      expect(codeOf(() => decode(Buffer.from(bytes)))).toMatch(/^(fine|NBD_PROTOCOL)$/)
    }),
    { numRuns: 1000 },
  )
})
