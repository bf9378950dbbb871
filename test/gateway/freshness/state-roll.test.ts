// Rolls: when what was seen before is used, told again in part, or made anew; and the order worst first.
import { expect, test } from 'vitest'
import type { CoverageMark } from '../../../gateway/catalog/coverage.ts'
import {
  byWorst,
  Roll,
  ROLL_HARD_MS,
  ROLL_SOFT_MS,
  Rolls,
  worstKey,
  type RollRow,
} from '../../../gateway/freshness/state-roll.ts'
import type { MachineState } from '../../../protocol/coverage.ts'

const row = (name: string, state: MachineState = 'fresh', deadlineMs: number | null = null): RollRow => ({
  name,
  plan: null,
  state,
  deadlineMs,
  lastPointMs: null,
})

/** A tenant whose machines, mark and clock a test sets, and what was looked at. */
class World {
  nowMs = 1_000_000
  whole = 'a'
  event = 1
  machines = [row('m1'), row('m2')]
  told: string[] | null = []
  looks: string[] = []
  readonly rolls = new Rolls({
    now: () => this.nowMs,
    mark: () => Promise.resolve({ whole: this.whole, event: this.event }),
    changed: () => Promise.resolve(this.told),
    all: () => {
      this.looks.push('all')
      return Promise.resolve([...this.machines])
    },
    some: (_, names) => {
      this.looks.push(names.join(' '))
      return Promise.resolve(this.machines.filter(({ name }) => names.includes(name)))
    },
  })

  /** States as the roll has them, and what was looked at for it. */
  async seen(): Promise<[string, string[]]> {
    this.looks = []
    const roll = await this.rolls.of('t')
    const looks = [...this.looks]
    return [[...roll.byName()].map(({ name, state }) => `${name} ${state}`).join(', '), looks]
  }
}

test('all machines are looked at once, and those of which something was told again', async () => {
  const world = new World()
  expect(await world.seen()).toEqual(['m1 fresh, m2 fresh', ['all']])
  expect(await world.seen()).toEqual(['m1 fresh, m2 fresh', []])
  world.machines = [row('m1'), row('m2', 'failing')]
  world.event = 2
  world.told = ['m2']
  expect(await world.seen()).toEqual(['m1 fresh, m2 failing', ['m2']])
  expect(await world.seen()).toEqual(['m1 fresh, m2 failing', []])
  // told of nobody, and of too many
  world.event = 3
  world.told = []
  expect(await world.seen()).toEqual(['m1 fresh, m2 failing', []])
  world.event = 4
  world.told = null
  expect(await world.seen()).toEqual(['m1 fresh, m2 failing', ['all']])
})

test('another mark, time that went back and a roll that is too old make it anew before it is used', async () => {
  const world = new World()
  await world.seen()
  world.whole = 'b'
  world.machines = [row('m1', 'excluded')]
  expect(await world.seen()).toEqual(['m1 excluded', ['all']])
  world.nowMs -= 1
  expect((await world.seen())[1]).toEqual(['all'])
  world.nowMs += ROLL_HARD_MS + 1
  expect((await world.seen())[1]).toEqual(['all'])
})

test('one that is a little old is used, and renewed for whoever asks next', async () => {
  const world = new World()
  await world.seen()
  world.nowMs += ROLL_SOFT_MS + 1
  world.machines = [row('m1', 'late')]
  expect(await world.seen()).toEqual(['m1 fresh, m2 fresh', ['all']])
  expect(await world.seen()).toEqual(['m1 late', []])
})

test('a look that fails is the answer where it is waited for, and is tried again', async () => {
  let broken = true
  const mark: CoverageMark = { whole: '', event: 0 }
  const rolls = new Rolls({
    now: () => 0,
    mark: () => Promise.resolve(mark),
    changed: () => Promise.resolve([]),
    all: () => (broken ? Promise.reject(new Error('no disk')) : Promise.resolve([row('m1')])),
    some: () => Promise.resolve([]),
  })
  await expect(rolls.of('t')).rejects.toThrow('no disk')
  broken = false
  expect((await rolls.of('t')).size).toBe(1)
})

test('worst first: by state, then by deadline, those without one last, then by name', () => {
  const rows = [
    row('f', 'fresh', 5),
    row('n', 'never'),
    row('l2', 'late', 9),
    row('l1', 'late', 7),
    row('b', 'never', 3),
    row('A', 'never'),
    row('u', 'uncovered'),
    row('x', 'failing'),
  ]
  const roll = new Roll({ whole: '', event: 0 }, 0, rows)
  expect(roll.worstFirst().map(({ name }) => name)).toEqual(['x', 'l1', 'l2', 'u', 'b', 'A', 'n', 'f'])
  expect(byWorst(worstKey(rows[0]!), worstKey(rows[0]!))).toBe(0)
})
