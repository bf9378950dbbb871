// The figures of the process: there, plausible, and about what happened since the last look.
import { setTimeout as pause } from 'node:timers/promises'
import { Registry } from '@prometheus-io/client'
import { expect, test } from 'vitest'
import { ProcessMeter } from '../../../gateway/metrics/process.ts'

const valueOf = (text: string, name: string): number => Number(new RegExp(`^${name} (\\S+)$`, 'mu').exec(text)?.[1])

test('time, memory and the delay of the event loop are told', async () => {
  const registry = new Registry(Registry.OPENMETRICS_CONTENT_TYPE)
  using meter = new ProcessMeter(registry)
  await pause(50)
  const busyUntil = performance.now() + 300
  while (performance.now() < busyUntil);
  await pause(50)
  await meter.look()
  const text = await registry.metrics()
  expect(valueOf(text, 'process_cpu_seconds_total')).toBeGreaterThan(0.2)
  expect(valueOf(text, 'process_resident_memory_bytes')).toBeGreaterThan(2 ** 20)
  expect(Math.abs(valueOf(text, 'process_start_time_seconds') * 1000 - performance.timeOrigin)).toBeLessThan(1)
  expect(valueOf(text, 'process_open_fds')).toBeGreaterThan(3)
  expect(valueOf(text, 'nodejs_heap_size_used_bytes')).toBeGreaterThan(2 ** 20)
  const lag = valueOf(text, 'nodejs_eventloop_lag_max_seconds')
  expect(lag).toBeGreaterThan(0.15)
  await pause(50)
  await meter.look()
  // the long one was before
  expect(valueOf(await registry.metrics(), 'nodejs_eventloop_lag_max_seconds')).toBeLessThan(lag)
})
