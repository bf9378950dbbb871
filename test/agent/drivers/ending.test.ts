// The end of a lease: its order, what is tried again, and what stays. Method: parts of a driver in memory that note each step.
import { mkdir, stat } from 'node:fs/promises'
import { expect, test } from 'vitest'
import type { LeaseOutcome } from '../../../agent/drivers/driver.ts'
import { endLease, undoBegin, type Ending } from '../../../agent/drivers/ending.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { tempFolder, type TempFolder } from '../../support/temp.ts'
import { codeOf } from '../restore/code-of.ts'

const AWAY = new VarveError('QMP_UNAVAILABLE', 'no answer')
const GONE = new VarveError('MACHINE_OFF', 'it has ended')

const entryIn = async (temp: TempFolder) => {
  const [scratchFolder, socketFolder] = [temp.join('scratch'), temp.join('sockets')]
  for (const folder of [scratchFolder, socketFolder]) await mkdir(folder)
  const machine = { name: 'db1', driver: 'qmp', address: 'a', keys: {} }
  return {
    id: 'l',
    machine,
    phase: 'active' as const,
    outcome: null as LeaseOutcome | null,
    scratchFolder,
    socketFolder,
  }
}
type Entry = Awaited<ReturnType<typeof entryIn>>

/** Ends the entry with a tear-down that does what each step says, one a try; the steps that were seen. */
const end = async (entry: Entry, tries: readonly (Error | 'ended' | 'stopped')[], hasBitmaps = true) => {
  const steps: string[] = []
  const has = async (folder: string): Promise<boolean> => (await stat(folder).catch(() => null)) !== null
  const log = { info: () => {}, warn: (_: unknown, said: string) => void steps.push(said) }
  const left = [...tries]
  const ending: Ending<Entry> = {
    write: async ({ phase, outcome }) => void steps.push(`${phase} ${outcome}`),
    tearDown: async (outcome) => {
      steps.push(`tear down ${outcome}`)
      const next = left.shift()
      if (next instanceof Error) throw next
      return next === 'stopped'
        ? async () => void steps.push(`resume, scratch: ${await has(entry.scratchFolder)}`)
        : null
    },
    unavailable: 'QMP_UNAVAILABLE',
    isGone: (error) => error === GONE,
    hasBitmaps,
  }
  const host = {
    log,
    journal: { remove: async () => void steps.push('removed') },
    thawer: { takeOver: async () => void steps.push('thaw') },
  } as unknown as Parameters<typeof endLease>[0]
  const code = await codeOf(endLease(host, entry, 'committed', ending))
  return { code, steps, folders: [await has(entry.scratchFolder), await has(entry.socketFolder)] }
}

test('the outcome is noted, the guest thawed, everything removed, and the entry last', async () => {
  await using temp = await tempFolder()
  expect(await end(await entryIn(temp), ['ended'])).toEqual({
    code: 'none',
    steps: ['ending committed', 'thaw', 'tear down committed', 'removed'],
    folders: [false, false],
  })
})

test('an outcome that was noted before holds', async () => {
  await using temp = await tempFolder()
  const { steps } = await end({ ...(await entryIn(temp)), outcome: 'failed' }, ['ended'])
  expect(steps.slice(0, 3)).toEqual(['ending failed', 'thaw', 'tear down failed'])
})

test('a guest that stopped for want of space is resumed once there is some', async () => {
  await using temp = await tempFolder()
  const { steps } = await end(await entryIn(temp), ['stopped'])
  expect(steps.slice(3)).toEqual([
    'resume, scratch: false',
    'the guest had stopped because the scratch space was full; it was resumed',
    'removed',
  ])
})

test('a connection that breaks is tried again a few times, and then everything stays', async () => {
  await using temp = await tempFolder()
  const entry = await entryIn(temp)
  const given = await end(entry, [AWAY, AWAY, AWAY, 'ended'])
  expect([given.code, given.folders]).toEqual(['QMP_UNAVAILABLE', [true, true]])
  expect(given.steps.filter((step) => step === 'tear down committed')).toHaveLength(3)
  expect(given.steps).not.toContain('removed')
  expect((await end(entry, [AWAY, AWAY, 'ended'])).code).toBe('none')
})

test('of a machine that has ended the scratch space goes, and the entry stays while it may have bitmaps', async () => {
  await using temp = await tempFolder()
  const entry = await entryIn(temp)
  const kept = await end(entry, [GONE])
  expect(kept).toMatchObject({ code: 'MACHINE_OFF', folders: [false, false] })
  expect(kept.steps).not.toContain('removed')
  expect((await end(entry, [GONE], false)).steps).toContain('removed')
})

test('what a failed begin made and cannot be removed now is watched, unless its machine has ended', async () => {
  await using temp = await tempFolder()
  const entry = await entryIn(temp)
  const watched: string[] = []
  const host = { log: { info: () => {}, warn: () => {} }, watchLeft: ({ id }: Entry) => void watched.push(id) }
  const isGone = (error: unknown): boolean => error === GONE
  const undo = (finish: () => Promise<void>): Promise<boolean> =>
    undoBegin(host as unknown as Parameters<typeof undoBegin<Entry>>[0], entry, AWAY, { finish, isGone })
  expect(await undo(async () => {})).toBe(true)
  expect(await undo(() => Promise.reject(GONE))).toBe(false)
  expect(watched).toEqual([])
  expect(await undo(() => Promise.reject(AWAY))).toBe(false)
  expect(watched).toEqual(['l'])
})
