// What runs announce: places and lengths of ids, the end of the disk, and zeroes that are said by an id.
import { describe, expect, test } from 'vitest'
import { announcedIn, type AnnouncedDisk } from '../../../gateway/chains/announced.ts'
import { batchOfRuns, type RunsMessage } from '../../../gateway/chains/backlog.ts'
import { RUN } from '../../../protocol/methods.ts'
import { codeOf } from '../auth/test-authority.ts'

const CHUNK_BYTES = 4096
const LAST_BYTES = 512

/** An id that is only a number. */
const idOf = (number: number): Uint8Array => new Uint8Array(32).fill(number)

/** A disk of ten chunks, the last one short; zeroes of n bytes have the id of n / 512. */
const DISK: AnnouncedDisk = {
  size: 9 * CHUNK_BYTES + LAST_BYTES,
  chunkBytes: CHUNK_BYTES,
  zeroId: (length) => idOf(length / 512),
}

const ids = (...numbers: readonly number[]): RunsMessage[number] => [RUN.ids, Buffer.concat(numbers.map(idOf))]

const refusal = (runs: RunsMessage, from = 0): Promise<string> =>
  codeOf((async () => Promise.resolve(announcedIn(batchOfRuns(runs), from, DISK)))())

describe('what runs announce', () => {
  test('is each id with its place and length, and where the next runs begin', () => {
    const runs: RunsMessage = [[RUN.zero, 2], ids(20, 21), [RUN.keep, 4], ids(22, 23)]
    const { announced, end } = announcedIn(batchOfRuns(runs), 0, DISK)
    expect(end).toBe(10)
    expect(announced.map(({ id, position, length }) => [id[0], position, length])).toEqual([
      [20, 2, CHUNK_BYTES],
      [21, 3, CHUNK_BYTES],
      [22, 8, CHUNK_BYTES],
      [23, 9, LAST_BYTES],
    ])
    expect(announcedIn(batchOfRuns([ids(20)]), 9, DISK)).toMatchObject({
      end: 10,
      announced: [{ position: 9, length: LAST_BYTES }],
    })
  })

  test('ends with the disk', async () => {
    for (const run of [[RUN.zero, 2], [RUN.keep, 2], ids(20, 21), [RUN.zero, 2 ** 40]] as RunsMessage)
      expect(await refusal([run], 9)).toBe('UPLOAD_INVALID')
    expect(await refusal([[RUN.zero, 10], ids(20)])).toBe('UPLOAD_INVALID')
  })

  test('is never a chunk of zeroes by its id, whole or short, wherever it stands', async () => {
    const [whole, short] = [CHUNK_BYTES / 512, LAST_BYTES / 512]
    for (let position = 0; position < 9; position++) {
      expect(await refusal([ids(whole)], position)).toBe('UPLOAD_INVALID')
      expect(await refusal([ids(20), ids(21, whole)], Math.min(position, 6))).toBe('UPLOAD_INVALID')
      // the zeroes of the last chunk have an id that no other place takes for theirs
      expect(await refusal([ids(short)], position)).toBe('none')
    }
    expect(await refusal([ids(short)], 9)).toBe('UPLOAD_INVALID')
    expect(await refusal([ids(whole)], 9)).toBe('none')
  })
})
