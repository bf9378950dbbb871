// The window of one upload: large while there is memory, small while others wait, and never in the way of the largest message.
import { expect, test } from 'vitest'
import { FULL_BYTES, UploadLoad } from '../../../gateway/chains/upload-load.ts'
import { UploadMemory } from '../../../gateway/chains/upload-memory.ts'
import { MemoryBudget } from '../../../gateway/memory/budget.ts'
import { ITEM_BYTES, UPLOAD_BYTES, UPLOAD_WINDOW_BYTES_MIN } from '../../../gateway/memory/limits.ts'
import { CHUNK_WINDOW_BYTES, UPLOAD_STORED_BYTES_MAX } from '../../../protocol/limits.ts'
import { servedCall } from '../../support/served-call.ts'

const MIB = 1024 * 1024
const never = new AbortController().signal

const open = async (budget: MemoryBudget, caller = 'a', chunkBytes = 65_536, load = new UploadLoad()) => {
  const grants: number[] = []
  const call = { ...servedCall<'image.upload'>(), grant: (bytes: number) => void grants.push(bytes) }
  const memory = await UploadMemory.admit({ call, account: budget.account('one', caller), load }, chunkBytes, never)
  memory.open()
  const granted = (): number => grants.splice(0).reduce((sum, bytes) => sum + bytes, 0)
  return { memory, granted }
}

/** A message of chunks comes, and is worked on at once. */
const take = (memory: UploadMemory, bytes: number): void => {
  memory.read(bytes)
  memory.work(bytes)
}

/** It is done with. */
const give = (memory: UploadMemory, bytes: number): void => memory.done(bytes, bytes)

/** Takes one message after the other, as a gateway that is faster than its agent does. */
const waitForAgent = (memory: UploadMemory, messages: number): void => {
  for (; messages > 0; messages--) {
    take(memory, MIB)
    give(memory, MIB)
  }
}

test('with memory the window grows to the method’s, without it a message of chunks fits, also of one large chunk', async () => {
  const much = await open(new MemoryBudget())
  expect(much.granted()).toBe(UPLOAD_WINDOW_BYTES_MIN)
  waitForAgent(much.memory, 8)
  expect(much.granted() - 8 * MIB).toBe(CHUNK_WINDOW_BYTES - UPLOAD_WINDOW_BYTES_MIN)
  const little = new MemoryBudget(5 * UPLOAD_BYTES, 0)
  expect((await open(little)).granted()).toBe(UPLOAD_WINDOW_BYTES_MIN)
  expect(little.usedBytes).toBe(UPLOAD_BYTES)
  expect(UPLOAD_WINDOW_BYTES_MIN).toBeGreaterThan(UPLOAD_STORED_BYTES_MAX)
  const large = await open(new MemoryBudget(10 * UPLOAD_BYTES, 0), 'a', 4 * MIB)
  expect(large.granted()).toBeGreaterThan(4 * MIB)
})

test('an agent that is faster than the gateway has the least window, whatever was before: more would only wait here', async () => {
  const { memory, granted } = await open(new MemoryBudget())
  waitForAgent(memory, 8)
  let outstanding = granted()
  outstanding -= 8 * MIB
  expect(outstanding).toBe(CHUNK_WINDOW_BYTES)
  // all that it may send waits here, and the first message of it is done again and again
  let waiting = 0
  for (let message = 0; message < 100; message++) {
    while (outstanding >= MIB / 2) {
      take(memory, MIB / 2)
      waiting++
      outstanding -= MIB / 2
    }
    give(memory, MIB / 2)
    waiting--
    outstanding += granted()
  }
  expect(waiting * (MIB / 2) + outstanding).toBeLessThanOrEqual(UPLOAD_WINDOW_BYTES_MIN + MIB)
  expect(waiting * (MIB / 2) + outstanding).toBeGreaterThan(MIB)
})

test('credit comes back once nothing is being worked on, or for a part of the window, and all of it does', async () => {
  const { memory, granted } = await open(new MemoryBudget())
  waitForAgent(memory, 8)
  granted()
  take(memory, 1000)
  take(memory, 3 * MIB)
  give(memory, 1000)
  expect(granted()).toBe(0)
  give(memory, 3 * MIB)
  expect(granted()).toBe(1000 + 3 * MIB)
})

test('while another upload of the tenant waits the window shrinks to its least, which lets that one in', async () => {
  const budget = new MemoryBudget(45 * MIB, 0)
  const first = await open(budget)
  waitForAgent(first.memory, 8)
  expect(first.granted() - 8 * MIB).toBeGreaterThan(UPLOAD_WINDOW_BYTES_MIN)
  let second = false
  const waiting = open(budget).then((opened) => {
    second = true
    return opened
  })
  for (let left = CHUNK_WINDOW_BYTES; left > 0; left -= MIB) {
    take(first.memory, MIB)
    give(first.memory, MIB)
  }
  const { memory } = await waiting
  expect(second).toBe(true)
  first.memory[Symbol.dispose]()
  memory[Symbol.dispose]()
  expect(budget.usedBytes).toBe(0)
})

test('many agents that are faster than the gateway together fill it no further, and each gets its turn', async () => {
  const load = new UploadLoad()
  const budget = new MemoryBudget(1024 * MIB)
  const uploads = await Promise.all(
    Array.from({ length: 24 }, (_, index) => open(budget, `agent-${index}`, 65_536, load)),
  )
  // each sends what it has credit for at once; the gateway is done with one message after the other, in the order of arrival
  const arrived: number[] = []
  const credit = uploads.map(() => 0)
  const sent = uploads.map(() => 0)
  const most = { once: 0, later: 0 }
  for (let round = 0; round < 3000; round++) {
    for (const [index, { memory, granted }] of uploads.entries()) {
      for (credit[index]! += granted(); credit[index]! >= MIB; credit[index]! -= MIB) {
        take(memory, MIB)
        arrived.push(index)
        sent[index]!++
      }
    }
    const when = round < 100 ? 'once' : 'later'
    most[when] = Math.max(most[when], arrived.length * MIB)
    give(uploads[arrived.shift()!]!.memory, MIB)
  }
  expect(most.once).toBe(24 * 2 * MIB)
  expect(most.later).toBeLessThanOrEqual(FULL_BYTES + 2 * UPLOAD_WINDOW_BYTES_MIN)
  expect(Math.max(...sent)).toBeLessThan(2 * Math.min(...sent))
})

test('who has credit and is silent keeps nobody else waiting, and credit that was held back goes out when others end', async () => {
  const load = new UploadLoad()
  const budget = new MemoryBudget(1024 * MIB)
  const [silent, busy, waiting] = await Promise.all(['a', 'b', 'c'].map((name) => open(budget, name, 65_536, load)))
  for (const { granted } of [silent!, busy!, waiting!]) granted()
  load.take(FULL_BYTES + 1)
  take(waiting!.memory, MIB)
  give(waiting!.memory, MIB)
  take(busy!.memory, 2 * MIB)
  expect(waiting!.granted()).toBe(0)
  load.give(FULL_BYTES + 1)
  expect(waiting!.granted()).toBeGreaterThanOrEqual(MIB)
  load.take(FULL_BYTES - MIB)
  take(waiting!.memory, MIB)
  give(waiting!.memory, MIB)
  expect(waiting!.granted()).toBe(0)
  busy!.memory[Symbol.dispose]()
  expect(waiting!.granted()).toBeGreaterThanOrEqual(MIB)
  // it was given back already
  give(busy!.memory, 2 * MIB)
  load.take(2 * MIB)
  take(waiting!.memory, MIB)
  give(waiting!.memory, MIB)
  expect(waiting!.granted()).toBe(0)
})

test('items take room and give it back', async () => {
  const budget = new MemoryBudget(100 * MIB, 0)
  const { memory } = await open(budget)
  const before = budget.usedBytes
  expect(memory.items(10_000)).toBe(true)
  expect(budget.usedBytes - before).toBeGreaterThanOrEqual(10_000 * ITEM_BYTES)
  expect(memory.items(10_000_000)).toBe(false)
  expect(memory.items(0)).toBe(true)
  expect(budget.usedBytes).toBe(before)
})
