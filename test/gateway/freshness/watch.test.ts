// The watcher over a real catalog: one pass a minute, each change told once whoever dies, looks that fail leave all as it was,
// and a start after a crash. Method: a clock by hand, looks that a test answers, gateways that end with and without their mark.
import { describe, expect, test } from 'vitest'
import { Events } from '../../../gateway/events/events.ts'
import type { Catalog } from '../../../gateway/catalog/catalog.ts'
import { openLocal } from '../../../gateway/catalog/sqlite/database.ts'
import type { Look } from '../../../gateway/freshness/watch-looks.ts'
import { StartMark } from '../../../gateway/freshness/watch-start.ts'
import { Watch } from '../../../gateway/freshness/watch.ts'
import type { Verdict } from '../../../gateway/freshness/watch-verdict.ts'
import { openLog } from '../../../protocol/host/log.ts'
import { HandClock, settle } from '../../support/hand-clock.ts'

const LOG = openLog({ level: 'silent' })
const MINUTE_MS = 60_000
const T = 1_900_000_000_000

/** A look at the disk whose figure a test sets; null fails. */
const lookAt = (state: { below: boolean | null; looks: number }, everyMs = MINUTE_MS): Look => ({
  name: 'disk',
  kinds: ['disk.reserve'],
  everyMs,
  look: async () => {
    state.looks++
    if (state.below === null) throw new Error('the disk does not answer')
    const holding = { severity: 'error', value: 'below', text: 'below its reserve', data: {} } as const
    const subject = { kind: 'disk.reserve', tenant: null, key: 'disk.reserve', machine: null } as const
    const verdict: Verdict = { ...subject, holding: state.below ? holding : null, good: 'room again' }
    return { verdicts: [verdict] }
  },
})

/** Kinds and texts of all that was told, but for starts. */
const told = async (catalog: Catalog): Promise<string[]> =>
  (await catalog.events.after({ seq: 0, limit: 100 }))
    .filter(({ kind }) => kind !== 'gateway.started')
    .map(({ kind, active, text }) => `${kind}${active === null ? '' : active ? ' begins' : ' ends'}: ${text}`)

const start = async (catalog: Catalog, clock: HandClock, looks: readonly Look[]) => {
  const events = new Events({ catalog, clock, log: LOG })
  const mark = await StartMark.set({ catalog, events, clock, log: LOG })
  const { recordedMs } = mark
  const watch = new Watch({ catalog, events, looks, clock, log: LOG, recordedMs })
  const end = async (): Promise<void> => {
    for (const one of [watch, mark, events]) await one[Symbol.asyncDispose]()
  }
  return { watch, end }
}

/** Minutes by the clock, each with its pass. */
const minutes = async (clock: HandClock, watch: Watch, count: number): Promise<void> => {
  for (let minute = 0; minute < count; minute++) {
    await clock.advanceSettled(MINUTE_MS)
    await watch.pass()
    await settle()
  }
}

describe('the watcher', () => {
  test('looks once a minute and tells each change once, also after a restart', async () => {
    using catalog = openLocal(':memory:')
    const clock = new HandClock(T)
    const state = { below: false, looks: 0 }
    const first = await start(catalog, clock, [lookAt(state)])
    await clock.advanceSettled(0)
    await first.watch.pass()
    expect(state.looks).toBe(1)
    // a pass before the next minute looks at nothing
    await first.watch.pass()
    expect(state.looks).toBe(1)
    state.below = true
    await minutes(clock, first.watch, 3)
    expect(state.looks).toBe(4)
    await first.end()
    expect(clock.waiting).toBe(0)
    const second = await start(catalog, clock, [lookAt(state)])
    await minutes(clock, second.watch, 2)
    state.below = false
    await minutes(clock, second.watch, 2)
    await second.end()
    expect(await told(catalog)).toEqual(['disk.reserve begins: below its reserve', 'disk.reserve ends: room again'])
  })

  test('a look that fails leaves what it told, and is made again at the next pass', async () => {
    using catalog = openLocal(':memory:')
    const clock = new HandClock(T)
    const state: { below: boolean | null; looks: number } = { below: true, looks: 0 }
    const { watch, end } = await start(catalog, clock, [lookAt(state, 60 * MINUTE_MS)])
    await minutes(clock, watch, 1)
    state.below = null
    await minutes(clock, watch, 62)
    const { looks } = state
    expect(looks).toBeGreaterThan(2)
    expect(await catalog.conditions.all({ kind: 'disk.reserve' })).toHaveLength(1)
    state.below = false
    await minutes(clock, watch, 1)
    expect(state.looks).toBe(looks + 1)
    expect(await catalog.conditions.all({ kind: null })).toEqual([])
    // and now it is an hour until the next one
    await minutes(clock, watch, 30)
    expect(state.looks).toBe(looks + 1)
    await end()
  })

  test('a crash is told by the next start, once, and a proper end is none', async () => {
    using catalog = openLocal(':memory:')
    const clock = new HandClock(T)
    const crashes = async (): Promise<number> =>
      (await told(catalog)).filter((text) => text.startsWith('gateway.crashed: the gateway that was started at')).length
    await (await start(catalog, clock, [])).end()
    expect(await crashes()).toBe(0)
    // this one is killed: nothing of it runs any more
    await start(catalog, new HandClock(T), [])
    await (await start(catalog, clock, [])).end()
    expect(await crashes()).toBe(1)
    await (await start(catalog, clock, [])).end()
    expect(await crashes()).toBe(1)
  })

  test('a clock that is set back is told at the next pass, and an hour later that it goes on evenly', async () => {
    using catalog = openLocal(':memory:')
    const clock = new HandClock(T)
    const { watch, end } = await start(catalog, clock, [])
    await minutes(clock, watch, 2)
    clock.set(clock.now() - 7_200_000)
    await minutes(clock, watch, 70)
    expect((await told(catalog)).map((text) => text.slice(0, 60))).toEqual(
      [
        'clock.wrong begins: the clock of the gateway was set back by ',
        'clock.wrong ends: the clock of the gateway goes on evenly',
      ].map((text) => text.slice(0, 60)),
    )
    // the next start has what was recorded since: it is not told again
    await end()
    const again = await start(catalog, clock, [])
    await minutes(clock, again.watch, 2)
    await again.end()
    expect(await told(catalog)).toHaveLength(2)
  })
})
