// The point that a time means, among points of every kind, and what a person is told of it.
import { beforeEach, expect, test, vi } from 'vitest'
import { NOW } from '../../../protocol/host/moment.ts'
import { newestAt, type PointPages } from '../../../protocol/host/point-at.ts'
import { beginOutput } from '../../../protocol/host/output.ts'
import type { Point } from '../../../protocol/schemas.ts'

const AT_MS = Date.UTC(2026, 10, 28, 14)
const HOUR_MS = 3_600_000

interface Made {
  readonly hours: number
  readonly future?: boolean
  readonly lostBytes?: number
}

const idOf = (hours: number): string => `${String(hours).padStart(8, '0')}-0000-4000-8000-000000000000`

const pointOf = ({ hours, future = false, lostBytes = 0 }: Made): Point =>
  ({ id: idOf(hours), machine: 'db1', timeMs: AT_MS + hours * HOUR_MS, future, lostBytes }) as Point

let told: string[]

beforeEach(() => {
  told = []
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => (told.push(String(text).trim()), true))
  beginOutput('varve-agent', [])
  return () => vi.restoreAllMocks()
})

/** Pages of two of these points; an `old` gateway does not know untilMs. */
const pagesOf = (made: readonly Made[], old: boolean): PointPages => {
  const points = made.map(pointOf).toSorted((a, b) => b.timeMs - a.timeMs)
  return async ({ untilMs = null, after }) => {
    const fitting = points.filter(({ timeMs }) => old || untilMs === null || timeMs <= untilMs)
    const from = Number(after ?? 0)
    return { points: fitting.slice(from, from + 2), next: from + 2 < fitting.length ? String(from + 2) : null }
  }
}

const chosen = async (made: readonly Made[], hours: number | null, old = false): Promise<number> => {
  const at = hours === null ? NOW : AT_MS + hours * HOUR_MS
  return ((await newestAt(pagesOf(made, old), 'db1', at)).timeMs - AT_MS) / HOUR_MS
}

const DAY = [{ hours: -3 }, { hours: -2 }, { hours: -1 }, { hours: 0 }, { hours: 1 }]

test.each([false, true])('is the newest at or before the time; of an old gateway too: %s', async (old) => {
  expect(await chosen(DAY, 0, old)).toBe(0)
  expect(await chosen(DAY, -0.5, old)).toBe(-1)
  expect(await chosen(DAY, -3, old)).toBe(-3)
  expect(await chosen(DAY, 5, old)).toBe(1)
  expect(await chosen(DAY, null, old)).toBe(1)
  expect(told[0]).toBe(
    'varve-agent: point 00000000 of 2026-11-28 14:00:00 UTC is the newest of db1 at or before 2026-11-28 14:00:00 UTC',
  )
  expect(told.at(-1)).toBe('varve-agent: point 00000001 of 2026-11-28 15:00:00 UTC is the newest of db1')
})

test('there being none, the oldest that there is is named', async () => {
  await expect(chosen(DAY, -4)).rejects.toThrow(
    'there is no restore point of db1 at or before 2026-11-28 10:00:00 UTC: its oldest is 000000-3 of 2026-11-28 11:00:00 UTC',
  )
  await expect(chosen([], null)).rejects.toThrow('there is no restore point of db1: it has none')
})

test('one that is dated in the future is passed over, and told', async () => {
  const made = [...DAY, { hours: 2, future: true }, { hours: 3, future: true }, { hours: 4, future: true }]
  expect(await chosen(made, null)).toBe(1)
  expect(told[1]).toContain('3 newer restore points are dated in the future')
  expect(await chosen(made, 2)).toBe(1)
  await expect(chosen([{ hours: 2, future: true }], null)).rejects.toThrow('its oldest is 00000002')
})

test('one of which something is lost is told with the newest whole one before it', async () => {
  const lost = [{ hours: -2 }, { hours: 0, lostBytes: 8192 }]
  expect(await chosen(lost, 0)).toBe(0)
  expect(told[1]).toBe(
    'varve-agent: 8.0 KiB of this point are known to be lost; the newest whole one before it is 000000-2 of 2026-11-28 12:00:00 UTC',
  )
})
