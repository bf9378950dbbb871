// One thing at a time on a machine: a second is refused, but waits for what is brief.
import { setImmediate as turn } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { HeldMachines } from '../../../agent/drivers/held.ts'

const machine = { name: 'db1', driver: 'qmp', address: '/db1.sock', keys: {} }

test('brief work runs one after the other, and not on a machine that is held; what is to hold it waits for brief work', async () => {
  const held = new HeldMachines()
  let running = 0
  const done: string[] = []
  const brief = (name: string) =>
    held.briefly(machine, async () => {
      running += 1
      expect(running).toBe(1)
      await turn()
      running -= 1
      done.push(name)
      return name
    })
  const hold = (): Promise<() => void> =>
    held.holding(machine, async (release) => {
      expect(running).toBe(0)
      done.push('held')
      return release
    })
  const first = ['a', 'b', 'c'].map(brief)
  const release = await hold()
  expect(await Promise.all(first)).toContain('a')
  expect(done[0]).toBe('a')
  expect(await brief('d')).toBeNull()
  await expect(hold()).rejects.toMatchObject({ code: 'LEASE_HELD' })
  release()
  await expect(held.briefly(machine, () => Promise.reject(new Error('no')))).rejects.toThrow('no')
  expect(await brief('e')).toBe('e')
  ;(await hold())()
})
