// The reports of maintenance: their largest answers fit a frame; and no group is called by the word for none.
import { randomUUID } from 'node:crypto'
import * as v from 'valibot'
import { describe, expect, test } from 'vitest'
import { decodeFrame, encodeFrame, FRAME } from '../../protocol/frames.ts'
import { FRAME_BYTES_MAX } from '../../protocol/limits.ts'
import { PRUNE_POINTS_MAX, USAGE_ROWS_MAX } from '../../protocol/maintenance.ts'
import { METHODS, type Result } from '../../protocol/methods.ts'
import { GROUP_NONE, KEEP_REASONS } from '../../protocol/retention.ts'

const NAME = 'n'.repeat(63)
const BYTES = 2 ** 50

const fill = <T>(count: number, one: () => T): T[] => Array.from({ length: count }, one)

/** The largest answers, with names and figures as long as they may be. */
const LARGEST: { readonly [N in 'store.usage' | 'points.prune']: () => Result<N> } = {
  'store.usage': () => ({
    rows: fill(USAGE_ROWS_MAX, () => ({
      scope: 'machine',
      machine: NAME,
      disk: 'd'.repeat(255),
      point: randomUUID(),
      timeMs: BYTES,
      points: BYTES,
      logicalBytes: BYTES,
      usedBytes: BYTES,
      uniqueBytes: BYTES,
      sharedBytes: BYTES,
      storedBytes: BYTES,
    })),
    rowCount: BYTES,
    packBytes: BYTES,
    deadBytes: BYTES,
    parts: {
      machineBytes: BYTES,
      sharedBytes: BYTES,
      deadBytes: BYTES,
      uploadBytes: BYTES,
      otherBytes: BYTES,
      missingBytes: BYTES,
    },
    quota: { softBytes: BYTES, hardBytes: BYTES },
    dedupRatio: 1.1,
    compressionRatio: 1.1,
    growth: { dayBytes: BYTES, weekBytes: BYTES, monthBytes: BYTES },
  }),
  'points.prune': () => ({
    points: fill(PRUNE_POINTS_MAX, () => ({
      point: randomUUID(),
      machine: NAME,
      timeMs: BYTES,
      keptBy: [...KEEP_REASONS],
    })),
    pointCount: BYTES,
    removed: BYTES,
  }),
}

describe.each(['store.usage', 'points.prune'] as const)('%s', (name) => {
  test('has largest answers that a frame holds', () => {
    const result = LARGEST[name]()
    expect(v.safeParse(METHODS[name].result, result).success).toBe(true)
    const bytes = encodeFrame([FRAME.result, 1, result])
    expect(bytes.length).toBeLessThanOrEqual(FRAME_BYTES_MAX)
    expect(decodeFrame(bytes)).toEqual([FRAME.result, 1, result])
  })
})

test('no group is called by the word for none', () => {
  const takes = (group: string | null): boolean[] => [
    v.safeParse(METHODS['machines.setGroup'].params, { machine: 'db1', group }).success,
    v.safeParse(METHODS['points.prune'].params, {
      machine: null,
      group,
      rules: null,
      points: null,
      dryRun: true,
    }).success,
  ]
  expect(takes(GROUP_NONE)).toEqual([false, false])
  for (const group of ['none1', 'web', null]) expect(takes(group)).toEqual([true, true])
})
