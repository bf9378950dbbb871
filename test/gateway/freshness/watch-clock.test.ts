// Clocks that are wrong: an agent's, and the gateway's own, which is compared with a clock that nobody sets and with what was
// recorded. Method: plain moments.
import { describe, expect, test } from 'vitest'
import {
  clockAtStart,
  clockLater,
  clockVerdict,
  skewVerdicts,
  STEADY_MS,
  type ClockSeen,
} from '../../../gateway/freshness/watch-clock.ts'

const MINUTE_MS = 60_000
const T = 1_900_000_000_000

describe('an agent’s clock', () => {
  const holds = (skewMs: number, before: string | null = null): boolean =>
    skewVerdicts([{ tenant: 't', agent: 'a1', host: 'hv1', skewMs }], () => before)[0]!.holding !== null

  test('is wrong past a minute either way, and right again within half of one', () => {
    expect([holds(59_000), holds(61_000), holds(-61_000)]).toEqual([false, true, true])
    expect([holds(45_000, 'wrong'), holds(-29_000, 'wrong')]).toEqual([true, false])
  })
})

describe('the gateway’s clock', () => {
  /** Looks each minute; `steps` are what the time of day is set by before each of them. */
  const after = (start: ClockSeen, steps: readonly number[]): ClockSeen => {
    let seen = start
    for (const step of steps) {
      const { nowMs, elapsedMs } = seen.last
      seen = clockLater(seen, { nowMs: nowMs + MINUTE_MS + step, elapsedMs: elapsedMs + MINUTE_MS })
    }
    return seen
  }
  const start = clockAtStart({ nowMs: T, elapsedMs: 5 }, T - 1000)
  const valueOf = (seen: ClockSeen): string | null | undefined => {
    const verdict = clockVerdict(seen)
    return verdict === null ? undefined : (verdict.holding?.value ?? null)
  }
  const HOUR = STEADY_MS / MINUTE_MS

  test('that goes on evenly is not spoken of in the first hour, and good then', () => {
    expect(valueOf(after(start, [0, 0]))).toBeUndefined()
    // a time server that makes it a bit faster is no step
    expect(
      valueOf(
        after(
          start,
          Array.from({ length: HOUR }, () => 300),
        ),
      ),
    ).toBeNull()
  })

  test('that was set is told, the last way counts, and an hour later it is over', () => {
    expect(valueOf(after(start, [-3_600_000]))).toBe('back')
    expect(valueOf(after(start, [0, 7_200_000, 0]))).toBe('forward')
    expect(valueOf(after(start, [7_200_000, -7_200_000]))).toBe('back')
    const set = after(start, [-3_600_000])
    expect(
      valueOf(
        after(
          set,
          Array.from({ length: HOUR - 1 }, () => 0),
        ),
      ),
    ).toBe('back')
    expect(
      valueOf(
        after(
          set,
          Array.from({ length: HOUR }, () => 0),
        ),
      ),
    ).toBeNull()
  })

  test('that is behind what was recorded was set back while no gateway ran', () => {
    const behind = clockAtStart({ nowMs: T, elapsedMs: 5 }, T + 3_600_000)
    expect(valueOf(behind)).toBe('back')
    expect(clockVerdict(behind)?.holding?.text).toContain('set back by 60 min')
    expect(valueOf(clockAtStart({ nowMs: T, elapsedMs: 5 }, T + 30_000))).toBeUndefined()
    expect(valueOf(clockAtStart({ nowMs: T, elapsedMs: 5 }, null))).toBeUndefined()
  })
})
