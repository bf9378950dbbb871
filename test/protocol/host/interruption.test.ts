// Signals of the system as the end of a command's work.
import { expect, test } from 'vitest'
import { interruption } from '../../../protocol/host/interruption.ts'

test.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)(
  '%s aborts with CANCELLED, and a second one is no more ours',
  (name) => {
    const before = process.listenerCount(name)
    using interrupted = interruption()
    process.emit(name, name)
    expect(interrupted.signal.reason).toMatchObject({ code: 'CANCELLED', message: `interrupted by ${name}` })
    expect(process.listenerCount(name)).toBe(before)
  },
)

test('aborts the controller that it is given, until it is disposed of', () => {
  const before = process.listenerCount('SIGHUP')
  const controller = new AbortController()
  {
    using interrupted = interruption(controller)
    expect(interrupted.signal).toBe(controller.signal)
  }
  expect([controller.signal.aborted, process.listenerCount('SIGHUP')]).toEqual([false, before])
})
