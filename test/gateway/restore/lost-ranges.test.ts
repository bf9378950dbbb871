// The sentence about lost ranges: disk, bytes, the first ranges, and the way out, whatever their number.
import { expect, test } from 'vitest'
import { ERROR_MESSAGE_CHARS_MAX } from '../../../protocol/errors.ts'
import { lostRangesError, RANGES_NAMED_MAX } from '../../../gateway/restore/lost-ranges.ts'

const POINT = '0192aaaa-0000-4000-8000-0000c0ffee42'
const range = (offset: number, length: number) => ({
  point: POINT,
  machine: 'db1',
  timeMs: 1,
  disk: 'vda',
  offset,
  length,
})

test('names disk, ranges and the way out', () => {
  const error = lostRangesError(
    { point: POINT, disk: 'vda' },
    { lost: [range(65_536, 4096)], lostCount: 1, lostBytes: 4096 },
  )
  expect(error.code).toBe('DATA_DAMAGED')
  for (const said of [
    'disk vda',
    '0192aaaa',
    '4096 bytes in 1 range ',
    '(4096 at 65536)',
    '--skip-damaged',
    'next backup',
  ])
    expect(error.message).toContain(said)
  expect(error.details).toEqual({ point: POINT, disk: 'vda', lostBytes: 4096, lostCount: 1 })
})

test('of many ranges the first are named and the others counted, within an error frame', () => {
  const lost = Array.from({ length: 40 }, (_, index) => range(2 ** 47 + index, 2 ** 40))
  const disk = 'd'.repeat(255)
  const { message } = lostRangesError({ point: POINT, disk }, { lost, lostCount: 9000, lostBytes: 2 ** 50 })
  expect(message).toContain(`and ${9000 - RANGES_NAMED_MAX} more`)
  expect(message.length).toBeLessThan(ERROR_MESSAGE_CHARS_MAX)
})
