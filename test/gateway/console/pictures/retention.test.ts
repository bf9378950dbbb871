// What-if: each point has what becomes of it by both rules, machines that lose most come first, and rules are counted.
import { expect, test } from 'vitest'
import { whatIfOf } from '../../../../gateway/console/pictures/retention.ts'
import type { PrunedPoint } from '../../../../protocol/maintenance.ts'

const point = (machine: string, timeMs: number, keptBy: PrunedPoint['keptBy']): PrunedPoint => ({
  point: `${machine}${timeMs}`,
  machine,
  timeMs,
  keptBy,
})

test('what goes, what stays, what goes anyway and what is saved are apart', () => {
  const now = [
    point('a', 100, []),
    point('a', 200, ['daily']),
    point('a', 300, ['last', 'last-good']),
    point('b', 150, ['daily']),
    point('b', 250, []),
    point('b', 260, ['last']),
  ]
  const then = [
    point('a', 100, []),
    point('a', 200, ['daily', 'held']),
    point('a', 300, ['last', 'last-good']),
    point('b', 150, []),
    point('b', 250, ['last']),
    // only one of both answers knows it
    point('b', 999, []),
  ]
  const { machines, counts, byRule, fromMs, untilMs } = whatIfOf(now, then)
  expect(
    machines.map(({ machine, points }) => [machine, points.map(({ timeMs, fate }) => `${timeMs} ${fate}`)]),
  ).toEqual([
    ['b', ['150 goes', '250 saved']],
    ['a', ['100 anyway', '200 stays', '300 stays']],
  ])
  expect(counts).toEqual({ stays: 2, goes: 1, anyway: 1, saved: 1 })
  expect(Object.fromEntries(byRule)).toEqual({ last: 2, daily: 1, held: 1, 'last-good': 1 })
  expect([fromMs, untilMs]).toEqual([100, 300])
  expect(machines[1]!.points.map(({ place }) => place)).toEqual([0, 0.5, 1])
})

test('no points, and points of one instant, are pictures too', () => {
  expect(whatIfOf([], [])).toMatchObject({ machines: [], fromMs: 0, untilMs: 0 })
  const one = [point('a', 5, [])]
  expect(whatIfOf(one, one).machines[0]!.points[0]!.place).toBe(1)
})
