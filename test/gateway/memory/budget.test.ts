// Who gets memory while others have much of it: bounds of a caller, a tenant and all, and turns among those who wait.
import { expect, test } from 'vitest'
import { MemoryBudget, type Hold } from '../../../gateway/memory/budget.ts'
import { CALLER_SESSIONS_MAX } from '../../../gateway/memory/limits.ts'

const never = new AbortController().signal
const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve))

/** Takes until there is no more. */
const takeAll = (budget: MemoryBudget, tenant: string, caller: string, piece: number): number => {
  let bytes = 0
  while (budget.take(tenant, caller, piece) !== null) bytes += piece
  return bytes
}

test('one caller gets a fifth, one tenant a third, and there is some left for the next', () => {
  const alone = new MemoryBudget(1000, 0)
  expect(takeAll(alone, '1', 'a', 1)).toBe(200)
  const tenant = new MemoryBudget(1000, 0)
  for (const caller of ['a', 'b', 'c', 'd']) takeAll(tenant, '1', caller, 1)
  expect(tenant.usedBytes).toBe(333)
  expect(takeAll(tenant, '2', 'a', 1)).toBe(133)
})

test('a tenant has a little for itself whatever others hold', async () => {
  const budget = new MemoryBudget(1000, 100)
  for (let hog = 10; hog < 200; hog++)
    for (const caller of ['a', 'b', 'c', 'd']) takeAll(budget, String(hog), caller, 1)
  const first = await budget.admit('1', 'a', 80, never)
  expect(budget.take('1', 'b', 20)).not.toBeNull()
  expect(budget.take('1', 'b', 1)).toBeNull()
  let second = false
  void budget.admit('1', 'b', 70, never).then(() => (second = true))
  await turn()
  expect(second).toBe(false)
  first[Symbol.dispose]()
  await turn()
  expect(second).toBe(true)
})

test('what is given back can be taken again, whatever grew and shrank meanwhile', () => {
  const budget = new MemoryBudget(1000, 0)
  const hold = budget.take('1', 'a', 100)!
  expect(hold.grow(101)).toBe(false)
  expect(hold.grow(100)).toBe(true)
  expect([hold.bytes, budget.usedBytes]).toEqual([200, 200])
  hold.shrink(150)
  hold.shrink(1000)
  expect([hold.bytes, budget.usedBytes]).toEqual([0, 0])
  hold[Symbol.dispose]()
  hold[Symbol.dispose]()
  expect(hold.grow(1)).toBe(false)
  expect(takeAll(budget, '1', 'a', 1)).toBe(200)
})

test('who waits is let in in turn: callers of a tenant, and tenants, however many of another wait', async () => {
  const budget = new MemoryBudget(1000, 0)
  const order: string[] = []
  const holds: Hold[] = []
  const wait = (tenant: string, caller: string): void => {
    const noted = async (): Promise<void> => {
      const hold = await budget.admit(tenant, caller, 90, never)
      order.push(`${tenant}${caller}`)
      holds.push(hold)
    }
    void noted()
  }
  for (let count = 0; count < 6; count++) wait('1', 'a')
  await turn()
  expect(order).toEqual(['1a', '1a'])
  // another caller and another tenant are not behind those four
  wait('1', 'b')
  wait('2', 'c')
  await turn()
  expect(order).toEqual(['1a', '1a', '1b', '2c'])
  expect(budget.pressed('1', 'b')).toBe(true)
  expect(budget.pressed('2', 'c')).toBe(false)
  while (holds.length > 0) {
    holds.shift()![Symbol.dispose]()
    await turn()
  }
  expect(order.filter((who) => who === '1a')).toHaveLength(6)
  expect(budget.usedBytes).toBe(0)
})

test('who gives up waiting takes nothing, and lets those behind it in', async () => {
  const budget = new MemoryBudget(1000, 0)
  await budget.admit('1', 'a', 150, never)
  const abort = new AbortController()
  const large = budget.admit('1', 'a', 150, abort.signal)
  let small = false
  void budget.admit('1', 'a', 10, never).then(() => (small = true))
  await turn()
  expect(small).toBe(false)
  abort.abort(new Error('given up'))
  await expect(large).rejects.toThrow('given up')
  await turn()
  expect([small, budget.usedBytes]).toEqual([true, 160])
  await expect(budget.admit('1', 'a', 1, abort.signal)).rejects.toThrow('given up')
})

test('sessions of one caller are counted, and those of others are not', () => {
  const budget = new MemoryBudget()
  const account = budget.account('1', 'a')
  const sessions = Array.from({ length: CALLER_SESSIONS_MAX }, () => account.session())
  expect(() => account.session()).toThrow(expect.objectContaining({ code: 'TOO_MANY_REQUESTS' }))
  budget.account('1', 'b').session()
  sessions[0]![Symbol.dispose]()
  sessions[0]![Symbol.dispose]()
  account.session()
  expect(() => account.session()).toThrow(expect.objectContaining({ code: 'TOO_MANY_REQUESTS' }))
})

test('what is large is let in though smaller work of its tenant keeps coming', async () => {
  const budget = new MemoryBudget(1000, 160)
  // others have all the rest
  for (let hog = 10; hog < 30; hog++) for (const caller of ['a', 'b']) takeAll(budget, String(hog), caller, 10)
  const holds: Hold[] = []
  const upload = async (): Promise<void> => {
    holds.push(await budget.admit('1', 'agent', 40, never))
  }
  const uploads = Array.from({ length: 100 }, upload)
  let ended = 0
  const restore = budget.admit('1', 'person', 120, never).then((hold) => {
    hold[Symbol.dispose]()
    return ended
  })
  for (; ended < uploads.length; ended++) {
    await turn()
    holds.shift()?.[Symbol.dispose]()
  }
  await Promise.all(uploads)
  expect(await restore).toBeLessThan(40)
})

test('what waits or grows leaves room for calls, which do not wait', async () => {
  const budget = new MemoryBudget(1000, 160)
  for (let hog = 10; hog < 30; hog++) for (const caller of ['a', 'b']) takeAll(budget, String(hog), caller, 10)
  const upload = await budget.admit('1', 'agent', 100, never)
  while (upload.grow(1));
  let second = false
  const gaveUp = new AbortController()
  const waiting = budget.admit('1', 'agent', 5, gaveUp.signal).then(() => (second = true))
  await turn()
  expect(second).toBe(false)
  expect(budget.take('1', 'agent', 10)).not.toBeNull()
  gaveUp.abort(new Error('over'))
  await expect(waiting).rejects.toThrow('over')
})
