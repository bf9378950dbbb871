// The point that --at means, among points of every kind, and what a person is told of it.
import { beforeEach, expect, test, vi } from 'vitest'
import type { CommandContext } from '../../../agent/commands/context.ts'
import { momentOf, NOW } from '../../../protocol/host/moment.ts'
import { checkPoint, pointAt } from '../../../agent/commands/which-point.ts'
import { beginOutput } from '../../../protocol/host/output.ts'
import { VarveError } from '../../../protocol/errors.ts'
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

/** A gateway with these points of db1, in pages of two; an `old` one does not know untilMs. */
const contextOf = (made: readonly Made[], old = false): CommandContext => {
  const points = made.map(pointOf).toSorted((a, b) => b.timeMs - a.timeMs)
  const ask = async (method: string, params: object): Promise<unknown> => {
    const { machine, untilMs, after } = params as { machine: string; untilMs: number | null; after: string | null }
    if (method === 'machines.list') return { machines: [{ name: 'db1' }], next: null }
    if (machine !== 'db1') throw new VarveError('NOT_FOUND', `there is no machine "${machine}"`)
    const fitting = points.filter(({ timeMs }) => old || untilMs === null || timeMs <= untilMs)
    const from = Number(after ?? 0)
    return { points: fitting.slice(from, from + 2), next: from + 2 < fitting.length ? String(from + 2) : null }
  }
  return { ask, config: { gateway: '', state: '', machines: [] }, record: null } as unknown as CommandContext
}

const chosen = async (made: readonly Made[], hours: number | null, old = false): Promise<number> => {
  const at = hours === null ? NOW : AT_MS + hours * HOUR_MS
  return ((await pointAt(contextOf(made, old), 'db1', at)).timeMs - AT_MS) / HOUR_MS
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
  await expect(pointAt(contextOf(DAY), 'db2', NOW)).rejects.toThrow('did you mean "db1"?')
  await expect(pointAt(contextOf(DAY), 'two words', NOW)).rejects.toThrow('there is no machine "two words"')
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

test('a time is a date with a time, or how long ago; a second is meant whole, as points are shown', () => {
  const nowMs = Date.UTC(2026, 0, 1, 12)
  expect(momentOf('now', nowMs)).toBe('now')
  expect(momentOf('90m', nowMs)).toBe(Date.UTC(2026, 0, 1, 10, 30))
  expect(momentOf('2026-01-01T10:00:05Z', nowMs)).toBe(Date.UTC(2026, 0, 1, 10, 0, 5, 999))
  expect(momentOf('2026-01-01T10:00:05.1Z', nowMs)).toBe(Date.UTC(2026, 0, 1, 10, 0, 5, 100))
  for (const text of ['', 'yesterday', '10:00', '2026-02-30 10:00', '1.5h'])
    expect(() => momentOf(text)).toThrow('not a time')
})

test('without a time a command takes no name of a machine', () => {
  expect(() => checkPoint('db1', undefined)).toThrow("a machine's name goes with --at TIME")
  checkPoint('DB1A', undefined)
  checkPoint('db1', 'now')
})
