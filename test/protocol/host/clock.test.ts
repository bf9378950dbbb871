// The system's clock: it moves, and a timer that was stopped does not fire.
import { expect, test } from 'vitest'
import { systemClock } from '../../../protocol/host/clock.ts'

test('timers fire unless they are stopped', async () => {
  const fired: string[] = []
  const stop = systemClock.after(1, () => void fired.push('stopped'))
  stop()
  await new Promise<void>((resolve) => {
    systemClock.after(20, () => {
      fired.push('fired')
      resolve()
    })
  })
  expect(fired).toEqual(['fired'])
  stop()
  expect(Math.abs(systemClock.now() - Date.now())).toBeLessThan(60_000)
})
