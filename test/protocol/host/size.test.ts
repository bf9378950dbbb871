// Sizes as people write and read them: known pairs, what is no size, and a way back from every printed one.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { sizeBytes, sizeText } from '../../../protocol/host/size.ts'

test('sizes are binary, with one letter or a whole unit', () => {
  const known: readonly (readonly [string, number])[] = [
    ['0', 0],
    ['4096', 4096],
    ['100M', 100 * 2 ** 20],
    ['500G', 500 * 2 ** 30],
    ['2T', 2 ** 41],
    ['1.5G', 1.5 * 2 ** 30],
    ['0.1K', 102],
    ['3 MiB', 3 * 2 ** 20],
    ['1P', 2 ** 50],
  ]
  for (const [text, bytes] of known) expect([text, sizeBytes(text)]).toEqual([text, bytes])
})

test('what is not a size is refused', () => {
  for (const text of [
    '',
    ' ',
    '-1',
    '1.5',
    '1e3',
    '5X',
    '5GB',
    'G',
    '1 2M',
    '0x10',
    '9007199254740993',
    '9000P',
    '1,5G',
  ])
    expect(() => sizeBytes(text), text).toThrow(expect.objectContaining({ code: 'PARAMS_INVALID' }))
})

test('sizes read as people say them', () => {
  expect([0, 1023, 1024, 1536, 100 * 1024, 2 ** 30, 5.25 * 2 ** 40].map(sizeText)).toEqual([
    '0 B',
    '1023 B',
    '1.0 KiB',
    '1.5 KiB',
    '100 KiB',
    '1.0 GiB',
    '5.3 TiB',
  ])
})

test('a printed size is near what it stands for', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1024, max: 2 ** 52 }), (bytes) => {
      const again = sizeBytes(sizeText(bytes))
      expect(Math.abs(again - bytes) / bytes).toBeLessThan(0.051)
    }),
  )
})
