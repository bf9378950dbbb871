// What is told, and how often: order, batches, a full disk, and a process killed at random moments.
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import type { Catalog } from '../../../gateway/catalog/catalog.ts'
import { EVENTS_PAGE_MAX } from '../../../gateway/catalog/events.ts'
import { openLocal } from '../../../gateway/catalog/sqlite/database.ts'
import { BATCH_MS, Events, EVENTS_WAITING_MAX, RETRY_MS, type Happening } from '../../../gateway/events/events.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { openLog } from '../../../protocol/host/log.ts'
import { HandClock, settle } from '../../support/hand-clock.ts'
import { intercepted, type Intercept } from '../../support/intercept.ts'
import { testDice } from '../../support/seed.ts'
import { tempFolder } from '../../support/temp.ts'

const log = openLog({ level: 'silent' })

/** Events over a catalog whose calls pass through `between`; closed with both. */
const opened = async (between: Intercept = (_name, _args, call) => call()) => {
  await using stack = new AsyncDisposableStack()
  const temp = stack.use(await tempFolder())
  const catalog = stack.use(openLocal(temp.join('catalog.db')))
  const clock = new HandClock(1000)
  const events = stack.use(new Events({ catalog: intercepted(catalog, between), clock, log }))
  const held = stack.move()
  return { catalog, clock, events, [Symbol.asyncDispose]: () => held.disposeAsync() }
}

const said = (text: string): Happening => ({ kind: 'plan.changed', tenant: null, text })

const textsOf = async (catalog: Catalog): Promise<string[]> => {
  const texts: string[] = []
  for (let seq = 0; ;) {
    const page = await catalog.events.after({ seq, limit: EVENTS_PAGE_MAX })
    if (page.length === 0) return texts
    texts.push(...page.map(({ text }) => text))
    seq = page.at(-1)!.seq
  }
}

test('what is told in a moment is written in one transaction, in its order, with the time at which it happened', async () => {
  const calls: string[] = []
  await using world = await opened((name, _args, call) => {
    calls.push(name)
    return call()
  })
  const { catalog, clock, events } = world
  events.tell(said('one'))
  clock.advance(BATCH_MS / 2)
  events.tell({ ...said('two'), severity: 'error', machine: 'db1', data: { jobs: 2 } })
  expect(calls).toEqual([])
  await clock.advanceSettled(BATCH_MS / 2)
  expect(calls).toEqual(['events.append'])
  expect(await catalog.events.after({ seq: 0, limit: 9 })).toMatchObject([
    { text: 'one', timeMs: 1000, severity: 'info', machine: null, data: {} },
    { text: 'two', timeMs: 1000 + BATCH_MS / 2, severity: 'error', machine: 'db1', data: { jobs: 2 } },
  ])
})

test('a condition goes behind what happened before it, and what happened after it behind it', async () => {
  await using world = await opened()
  const { catalog, events } = world
  const condition = { tenant: null, key: 'disk', kind: 'disk.reserve', severity: 'error', value: 'low' } as const
  events.tell(said('before'))
  const set = events.conditions.set({ ...condition, text: 'low' })
  events.tell(said('after'))
  expect([await set, await events.conditions.set({ ...condition, text: 'low' })]).toEqual([true, false])
  expect(await events.conditions.clear({ ...condition, text: 'good' })).toBe(true)
  expect(await textsOf(catalog)).toEqual(['before', 'low', 'after', 'good'])
})

test('many conditions go in several transactions, and each says whether it changed', async () => {
  await using world = await opened()
  const { catalog, events } = world
  const changes = Array.from({ length: EVENTS_PAGE_MAX + 2 }, (_, index) => ({
    holds: true as const,
    tenant: null,
    kind: 'machine.state' as const,
    key: `machine.state ${index % (EVENTS_PAGE_MAX + 1)}`,
    severity: 'warning' as const,
    machine: null,
    value: 'late',
    text: 'late',
    data: {},
  }))
  const changed = await events.conditions.apply(changes)
  expect([changed.length, changed.filter(Boolean).length, changed.at(-1)]).toEqual([
    EVENTS_PAGE_MAX + 2,
    EVENTS_PAGE_MAX + 1,
    false,
  ])
  expect(await textsOf(catalog)).toHaveLength(EVENTS_PAGE_MAX + 1)
})

test('what cannot be written waits and is written later, past a bound it is counted; a condition is the caller’s error', async () => {
  let full = true
  await using world = await opened((_name, _args, call) =>
    full ? Promise.reject(new VarveError('STORE_FULL', 'no room')) : call(),
  )
  const { catalog, clock, events } = world
  for (let index = 0; index < EVENTS_WAITING_MAX + 3; index++) events.tell(said(String(index)))
  await clock.advanceSettled(BATCH_MS)
  expect(events.waiting).toBe(EVENTS_WAITING_MAX)
  const about = {
    tenant: null,
    key: 'disk',
    kind: 'disk.reserve',
    severity: 'error',
    value: 'low',
    text: 'low',
  } as const
  await expect(events.conditions.set(about)).rejects.toMatchObject({ code: 'STORE_FULL' })
  full = false
  await clock.advanceSettled(RETRY_MS)
  await settle(50)
  const texts = await textsOf(catalog)
  expect(texts.slice(0, EVENTS_WAITING_MAX)).toEqual(
    Array.from({ length: EVENTS_WAITING_MAX }, (_, index) => String(index)),
  )
  expect(texts.slice(EVENTS_WAITING_MAX)).toEqual(['3 events could not be written and are lost'])
  expect(events.waiting).toBe(0)
})

test('listeners are called after each change until they stop', async () => {
  await using world = await opened()
  const { clock, events } = world
  const heard: string[] = []
  const stop = events.listen(() => heard.push('one'))
  events.listen(() => heard.push('other'))
  events.tell(said('x'))
  await clock.advanceSettled(BATCH_MS)
  expect(heard).toEqual(['one', 'other'])
  stop()
  const condition = { tenant: null, key: 'disk', kind: 'disk.reserve', severity: 'error', value: 'low' } as const
  await events.conditions.set({ ...condition, text: 'low' })
  await events.conditions.set({ ...condition, text: 'low' })
  events.wake()
  expect(heard).toEqual(['one', 'other', 'other', 'other'])
})

test('closing writes what waits, and nothing is taken afterwards', async () => {
  await using temp = await tempFolder()
  using catalog = openLocal(temp.join('catalog.db'))
  const clock = new HandClock()
  const events = new Events({ catalog, clock, log })
  events.tell(said('last'))
  await events[Symbol.asyncDispose]()
  events.tell(said('too late'))
  await clock.advanceSettled(RETRY_MS)
  expect([await textsOf(catalog), clock.waiting]).toEqual([['last'], 0])
})

/** Runs the program for a random time and kills it; the last step that it acknowledged. */
const runAndKill = async (file: string, lifeMs: number): Promise<number> => {
  const child = spawn(process.execPath, ['test/gateway/events/events-child.ts', file], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const ended = new Promise<NodeJS.Signals | null>((resolve) => child.on('exit', (_code, signal) => resolve(signal)))
  let last = 0
  const ready = Promise.withResolvers<void>()
  const read = (async () => {
    for await (const line of createInterface({ input: child.stdout })) {
      if (line !== 'ready') last = Number(line)
      ready.resolve()
    }
  })()
  await ready.promise
  await sleep(lifeMs)
  child.kill('SIGKILL')
  expect(await ended).toBe('SIGKILL')
  await read
  return last
}

test('each change of a condition is told exactly once, whenever its process is killed', async () => {
  const dice = testDice()
  await using temp = await tempFolder()
  const file = temp.join('catalog.db')
  let acknowledged = 0
  for (let round = 0; round < 5; round++) {
    acknowledged = Math.max(acknowledged, await runAndKill(file, dice.below(150)))
    using catalog = openLocal(file)
    const [held] = await catalog.conditions.of({ tenant: null, kind: null })
    const steps = Number(held?.value ?? 0)
    const texts = await textsOf(catalog)
    const told = texts.filter((text) => !text.startsWith('before'))
    // a gap, a doubled or an unordered one would show
    expect(told).toEqual(Array.from({ length: steps }, (_, index) => String(index + 1)))
    expect(steps).toBeGreaterThanOrEqual(acknowledged)
    // what happened before a change was written before it, and once
    const before = texts.filter((text) => text.startsWith('before'))
    expect(new Set(before).size >= steps && before.length - new Set(before).size <= round).toBe(true)
    for (const step of told) expect(texts.indexOf(`before ${step}`)).toBeLessThan(texts.indexOf(step))
  }
  expect(acknowledged).toBeGreaterThan(0)
})
