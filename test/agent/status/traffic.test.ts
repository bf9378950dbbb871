// Traffic: totals for ever, rates over the last whole seconds.
import { expect, test } from 'vitest'
import { RATE_SECONDS, Traffic } from '../../../agent/status/traffic.ts'
import { HandClock } from '../../support/hand-clock.ts'

test('rates are those of the last seconds, totals of all time', () => {
  const clock = new HandClock(500)
  const traffic = new Traffic(clock)
  expect(traffic.rates).toEqual({ readBytesPerSecond: 0, sentBytesPerSecond: 0 })
  for (let second = 0; second < 3 * RATE_SECONDS; second++) {
    traffic.read(300)
    traffic.read(700)
    traffic.sent(second)
    clock.advance(1000)
  }
  expect(traffic.rates.readBytesPerSecond).toBe(1000)
  // 20, 21, ... 29
  expect(traffic.rates.sentBytesPerSecond).toBe(25)
  clock.advance((RATE_SECONDS / 2) * 1000)
  expect(traffic.rates.readBytesPerSecond).toBe(500)
  clock.advance(RATE_SECONDS * 1000)
  expect(traffic.rates).toEqual({ readBytesPerSecond: 0, sentBytesPerSecond: 0 })
  expect(traffic.totals).toEqual({ bytesRead: 3000 * RATE_SECONDS, bytesSent: 435 })
})
