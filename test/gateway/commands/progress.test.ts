// The progress line: what it says, where it is silent, and that a long call's end is its result's.
import { expect, test } from 'vitest'
import { callLong, Meters, progressText } from '../../../gateway/commands/progress.ts'
import { ProgressLine, type ProgressOutput } from '../../../protocol/host/progress.ts'
import { VarveError } from '../../../protocol/errors.ts'
import type { MaintenanceProgress } from '../../../protocol/maintenance.ts'
import type { Handlers } from '../../../protocol/peer.ts'
import { HandClock } from '../../support/hand-clock.ts'
import { codeOf } from '../auth/test-authority.ts'
import { memoryLink } from '../memory-link.ts'

const output = (isTTY: boolean, columns = 40): ProgressOutput & { text: string } => ({
  text: '',
  isTTY,
  columns,
  write(part) {
    this.text += part
  },
})

test('a line names the work, how much is done, and the part of the whole where that is known', () => {
  const meters = new Meters()
  const text = (atMs: number, progress: MaintenanceProgress): string =>
    progressText('acme', progress, meters.at(progress, atMs))
  expect(text(0, { phase: 'mark', done: 12_345, total: null })).toBe('acme: walks trees: 12,345')
  expect(text(2000, { phase: 'mark', done: 32_345, total: 62_345 })).toBe(
    'acme: walks trees: 32,345 of 62,345 (51 %), 10,000/s, 3 s left',
  )
  expect(text(3000, { phase: 'read', done: 2 ** 20, total: 3 * 2 ** 20 })).toBe(
    'acme: reads: 1.0 MiB of 3.0 MiB (33 %)',
  )
  expect(text(5000, { phase: 'read', done: 2 ** 21, total: 3 * 2 ** 20 })).toBe(
    'acme: reads: 2.0 MiB of 3.0 MiB (66 %), 512 KiB/s, 2 s left',
  )
  expect(text(6000, { phase: 'remove', done: 4, total: 3 })).toBe('acme: removes packs: 4 of 3 (100 %)')
  expect(text(7000, { phase: 'scan', done: 0, total: 0 })).toBe('acme: reads packs: 0 B')
})

test('a line is rewritten in place, cut to the terminal and gone at the end; elsewhere nothing is printed', () => {
  const terminal = output(true, 10)
  {
    using line = new ProgressLine(terminal)
    line.show('0123456789abc')
    line.show('short')
  }
  expect(terminal.text).toBe(`\r012345678\rshort    \r${' '.repeat(5)}\r`)
  const pipe = output(false)
  {
    using line = new ProgressLine(pipe)
    line.show('text')
  }
  expect(pipe.text).toBe('')
})

const COLLECT = { dryRun: true, thresholdPercent: 90, bytesPerSecond: null }
const records = { records: 0, bytes: 0 }
const REPORT = {
  dryRun: true,
  points: 0,
  nodes: 0,
  examined: records,
  live: records,
  dead: records,
  missing: 0,
  packs: { before: 0, removed: 0, rewritten: 0, after: 0 },
  bytesBefore: 0,
  bytesRewritten: 0,
  bytesAfter: 0,
  durationMs: 0,
  waiting: { belowThresholdBytes: 0, inUseBytes: 0, damagedBytes: 0, noRoomBytes: 0 },
}

const called = (handlers: Handlers, signal = new AbortController().signal, shown = output(true)) => {
  const { agent: peer } = memoryLink(new HandClock(), { gateway: handlers })
  return callLong({ peer, signal, tenant: 'acme' }, { what: 'acme', name: 'store.collect', params: COLLECT }, shown)
}

test('a long call shows what it is told on the way and gives its result', async () => {
  const shown = output(true)
  const handlers: Handlers = {
    'store.collect': async (_, { send }) => {
      await send({ phase: 'mark', done: 1, total: 2 })
      await send({ phase: 'sweep', done: 2, total: 2 })
      return REPORT
    },
  }
  expect(await called(handlers, undefined, shown)).toEqual(REPORT)
  expect(shown.text).toContain('\racme: walks trees: 1 of 2 (50 %)')
  expect(shown.text).toContain('\racme: takes dead records out: 2 of 2 (1')
  expect(shown.text.endsWith('\r')).toBe(true)
})

test('its failure and its cancellation are the call’s', async () => {
  const failing: Handlers = {
    'store.collect': async (_, { send }) => {
      await send({ phase: 'mark', done: 1, total: 2 })
      throw new VarveError('MAINTENANCE_RUNNING', 'busy')
    },
  }
  expect(await codeOf(called(failing))).toBe('MAINTENANCE_RUNNING')
  const controller = new AbortController()
  const cancelled = Promise.withResolvers<void>()
  const endless: Handlers = {
    'store.collect': (_, { signal }) =>
      new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => {
          cancelled.resolve()
          reject(new VarveError('CANCELLED', 'over'))
        })
        controller.abort()
      }),
  }
  expect(await codeOf(called(endless, controller.signal))).toBe('CANCELLED')
  await cancelled.promise
})
