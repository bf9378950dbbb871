// The messages of the NBD handshake between bytes and meaning, and hostile bytes that must end in NBD_PROTOCOL.

import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  answerGreeting,
  decodeInfo,
  decodeMetaContext,
  decodeOptionReplyHeader,
  encodeGo,
  encodeSetMetaContext,
  OPTION_REPLY_BYTES_MAX,
} from '../../../agent/nbd/option-wire.ts'
import { PAYLOAD_BYTES_MAX } from '../../../agent/nbd/wire.ts'
import { asVarveError } from '../../../protocol/errors.ts'
import { blockSizeInfo, exportInfo, GREETING, optionReply, u16, u32 } from './scripted-server.ts'

const codeOf = (decode: () => unknown): string => {
  try {
    decode()
    return 'fine'
  } catch (error) {
    return asVarveError(error).code
  }
}

test('options are laid out as the protocol says', () => {
  const magic = Buffer.from('IHAVEOPT')
  expect(encodeGo('vda')).toEqual(Buffer.concat([magic, u32(7), u32(11), u32(3), Buffer.from('vda'), u16(1), u16(3)]))
  const context = Buffer.from('base:allocation')
  expect(encodeSetMetaContext('é', ['base:allocation'])).toEqual(
    Buffer.concat([magic, u32(10), u32(29), u32(2), Buffer.from('é'), u32(1), u32(15), context]),
  )
})

test('the greeting is answered with what both can', () => {
  expect(answerGreeting(GREETING)).toEqual(u32(3))
  expect(answerGreeting(Buffer.concat([GREETING.subarray(0, 16), u16(1)]))).toEqual(u32(1))
})

test.each([
  ['a wrong magic', Buffer.concat([Buffer.from('NBDMAGIXIHAVEOPT'), u16(3)])],
  ['the oldstyle handshake', Buffer.concat([Buffer.from('NBDMAGIC'), Buffer.from('00420281861253'), Buffer.alloc(3)])],
  ['no fixed newstyle', Buffer.concat([Buffer.from('NBDMAGICIHAVEOPT'), u16(2)])],
])('a greeting with %s is refused', (_, greeting) => {
  expect(codeOf(() => answerGreeting(greeting.subarray(0, 18)))).toBe('NBD_PROTOCOL')
})

test('an option reply header reads back', () => {
  fc.assert(
    fc.property(fc.nat(0xffffffff), fc.nat(0xffffffff), fc.nat(4096), (option, type, length) => {
      const header = optionReply(option, type, Buffer.alloc(length)).subarray(0, 20)
      expect(decodeOptionReplyHeader(header, option)).toEqual({ type, length })
    }),
  )
})

test('an option reply that answers another option, or is too long, is refused', () => {
  expect(codeOf(() => decodeOptionReplyHeader(optionReply(8, 1), 7))).toBe('NBD_PROTOCOL')
  const long = optionReply(7, 3, Buffer.alloc(OPTION_REPLY_BYTES_MAX + 1)).subarray(0, 20)
  expect(codeOf(() => decodeOptionReplyHeader(long, 7))).toBe('NBD_PROTOCOL')
})

test('export and block sizes read back, within our limits', () => {
  const info = decodeInfo(exportInfo(2 ** 41, 1 | 2 | (1 << 8)))
  expect(info).toEqual({
    kind: 'export',
    size: 2 ** 41,
    flags: {
      readOnly: true,
      canFlush: false,
      canFua: false,
      canTrim: false,
      canWriteZeroes: false,
      canDontFragment: false,
      multiConn: true,
    },
  })
  const blockSize = { minimum: 512, preferred: 65536, maximum: PAYLOAD_BYTES_MAX }
  expect(decodeInfo(blockSizeInfo(512, 65536, 0xffffffff))).toEqual({ kind: 'blockSize', blockSize })
  expect(decodeInfo(blockSizeInfo(4096, 4096, 10_000))).toMatchObject({ blockSize: { maximum: 8192 } })
  expect(decodeInfo(u16(77))).toEqual({ kind: 'other' })
})

test('an export without flags, or larger than a number can count, is refused', () => {
  expect(codeOf(() => decodeInfo(exportInfo(4096, 0)))).toBe('NBD_PROTOCOL')
  expect(codeOf(() => decodeInfo(exportInfo(2n ** 53n)))).toBe('NBD_PROTOCOL')
  expect(codeOf(() => decodeInfo(exportInfo(2n ** 53n - 1n)))).toBe('fine')
})

test.each([
  ['minimum zero', [0, 4096, 4096]],
  ['minimum no power of two', [3, 4096, 4096]],
  ['minimum too large', [1 << 17, 1 << 17, 1 << 20]],
  ['preferred below minimum', [4096, 512, 1 << 20]],
  ['maximum below minimum', [4096, 4096, 512]],
] as const)('block sizes with %s are refused', (_, [minimum, preferred, maximum]) => {
  expect(codeOf(() => decodeInfo(blockSizeInfo(minimum, preferred, maximum)))).toBe('NBD_PROTOCOL')
})

test('any bytes give a value or NBD_PROTOCOL, nothing else', () => {
  const decoders: readonly ((bytes: Buffer) => unknown)[] = [
    answerGreeting,
    (bytes) => decodeOptionReplyHeader(bytes, 7),
    decodeMetaContext,
    decodeInfo,
  ]
  fc.assert(
    fc.property(fc.constantFrom(...decoders), fc.uint8Array({ maxLength: 32 }), (decode, bytes) => {
      expect(codeOf(() => decode(Buffer.from(bytes)))).toMatch(/^(fine|NBD_PROTOCOL)$/)
    }),
    { numRuns: 1000 },
  )
})
