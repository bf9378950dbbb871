// A segment's runs as the gateway is told of them: neighbours of one kind joined, zero reads as zeroes, ids in order.
import { expect, test } from 'vitest'
import { runsMessage } from '../../../agent/image/runs-message.ts'
import { idAt } from '../../../protocol/host/bytes.ts'
import { RUN, UP } from '../../../protocol/methods.ts'

const ids = Uint8Array.from({ length: 5 * 32 }, (_, at) => Math.floor(at / 32) + 1)
const joined = (...indexes: number[]): Uint8Array => new Uint8Array(indexes.flatMap((index) => [...idAt(ids, index)]))

test('reads that are zero join the zeroes beside them, the others are asked about', () => {
  const segment = {
    runs: [
      { kind: 'keep', position: 0, count: 7 },
      { kind: 'zero', position: 7, count: 2 },
      { kind: 'read', position: 9, count: 4 },
      { kind: 'keep', position: 13, count: 1 },
      { kind: 'read', position: 14, count: 1 },
    ],
    reads: 5,
  } as const
  const { message, asked } = runsMessage(segment, ids, Uint8Array.of(1, 0, 0, 1, 0))
  expect(message).toEqual([
    UP.runs,
    [
      [RUN.keep, 7],
      [RUN.zero, 3],
      [RUN.ids, joined(1, 2)],
      [RUN.zero, 1],
      [RUN.keep, 1],
      [RUN.ids, joined(4)],
    ],
  ])
  expect(asked).toEqual([1, 2, 4])
})

test('a segment without reads asks about nothing', () => {
  const segment = { runs: [{ kind: 'zero', position: 0, count: 9 }], reads: 0 } as const
  expect(runsMessage(segment, new Uint8Array(0), new Uint8Array(0))).toEqual({
    message: [UP.runs, [[RUN.zero, 9]]],
    asked: [],
  })
})
