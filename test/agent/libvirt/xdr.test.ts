// XDR. Goal: what is written is read, and no bytes that a daemon could send make the reader give wrong values, read beyond
// the end or take much memory. Method: generated values, and messages that are cut, prolonged and made large.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { XDR_STRING_BYTES_MAX, XdrReader, XdrWriter } from '../../../agent/libvirt/xdr.ts'

const protocolError = (why: RegExp): unknown =>
  expect.objectContaining({ code: 'LIBVIRT_PROTOCOL', message: expect.stringMatching(why) })

const record = fc.record({
  int: fc.integer(),
  unsigned: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
  huge: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  text: fc.string({ unit: 'binary' }).filter((text) => text.isWellFormed()),
  maybe: fc.option(fc.string({ unit: 'grapheme' }).filter((text) => text.isWellFormed())),
  list: fc.array(fc.string({ unit: 'grapheme-ascii' }), { maxLength: 5 }),
})

const write = ({ int, unsigned, huge, text, maybe, list }: Record<string, any>): Buffer => {
  const writer = new XdrWriter().i32(int).u32(unsigned).u64(huge).string(text).optionalString(maybe)
  return writer.list(list as string[], (item) => void writer.string(item)).bytes()
}

const read = (reader: XdrReader): unknown => ({
  int: reader.i32(),
  unsigned: reader.u32(),
  huge: reader.u64(),
  text: reader.string(),
  maybe: reader.optional(() => reader.string()),
  list: reader.list(5, () => reader.string()),
})

test('what is written is read, and nothing is left', () => {
  fc.assert(
    fc.property(record, (value) => {
      const bytes = write(value)
      expect(bytes.length % 4).toBe(0)
      const reader = new XdrReader(bytes)
      expect(read(reader)).toEqual(value)
      reader.end()
    }),
  )
})

test('a message that is cut anywhere is refused, not read with other values', () => {
  fc.assert(
    fc.property(record, fc.nat(), (value, at) => {
      const bytes = write(value)
      const reader = new XdrReader(bytes.subarray(0, at % bytes.length))
      expect(() => read(reader)).toThrow(protocolError(/too early|ends before/))
    }),
  )
})

test('any bytes are read or refused as not libvirt’s', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      try {
        read(new XdrReader(Buffer.from(bytes)))
      } catch (error) {
        expect(error).toMatchObject({ code: 'LIBVIRT_PROTOCOL' })
      }
    }),
  )
})

test('numbers are big-endian, strings padded with zeros', () => {
  expect(new XdrWriter().i32(-2).u64(1n).string('abcde').bytes().toString('hex')).toBe(
    'fffffffe 0000000000000001 00000005 6162636465000000'.replaceAll(' ', ''),
  )
  const reader = new XdrReader(Buffer.from('ffffffffffffffff3ff8000000000000', 'hex'))
  expect([reader.i64(), reader.f64()]).toEqual([-1n, 1.5])
})

test.each([
  ['a string longer than libvirt’s longest', '00400001', (reader: XdrReader) => reader.string(), /4194305 bytes/],
  ['a string longer than the message', '00000005616263', (reader: XdrReader) => reader.string(), /too early/],
  ['a string with bytes in its padding', '0000000161000001', (reader: XdrReader) => reader.string(), /after its end/],
  ['a string that is not UTF-8', '00000001ff000000', (reader: XdrReader) => reader.string(), /not UTF-8/],
  ['a truth value of 2', '00000002', (reader: XdrReader) => reader.bool(), /2 where 0 or 1/],
  ['a list longer than its limit', '00000006', (reader: XdrReader) => reader.list(5, () => reader.i32()), /6 items/],
  ['a list longer than the message', 'ffffffff', (reader: XdrReader) => reader.list(2 ** 32, nothing), /ends before/],
  ['bytes behind the end', '0000000100000000', (reader: XdrReader) => (reader.i32(), reader.end()), /4 bytes after/],
])('%s is refused', (_what, hex, reading, why) => {
  expect(() => reading(new XdrReader(Buffer.from(hex, 'hex')))).toThrow(protocolError(why))
})

const nothing = (): void => undefined

test('words for people may be other than UTF-8', () => {
  expect(new XdrReader(Buffer.from('0000000261ff0000', 'hex')).words()).toBe('a\uFFFD')
})

test('a string that libvirt would not take is not sent', () => {
  const longest = 'x'.repeat(XDR_STRING_BYTES_MAX)
  expect(new XdrReader(new XdrWriter().string(longest).bytes()).string()).toBe(longest)
  expect(() => new XdrWriter().string(`${longest}x`)).toThrow(expect.objectContaining({ code: 'PARAMS_INVALID' }))
})
