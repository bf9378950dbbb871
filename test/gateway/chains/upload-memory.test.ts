// The window of one upload: large while there is memory, small while others wait, and never in the way of the largest message.
import { expect, test } from 'vitest'
import { UploadMemory } from '../../../gateway/chains/upload-memory.ts'
import { MemoryBudget } from '../../../gateway/memory/budget.ts'
import { ITEM_BYTES, UPLOAD_BYTES, UPLOAD_WINDOW_BYTES_MIN } from '../../../gateway/memory/limits.ts'
import { CHUNK_WINDOW_BYTES, UPLOAD_STORED_BYTES_MAX } from '../../../protocol/limits.ts'
import { servedCall } from '../../support/served-call.ts'

const MIB = 1024 * 1024
const never = new AbortController().signal

const open = async (budget: MemoryBudget, caller = 'a', chunkBytes = 65_536) => {
  const grants: number[] = []
  const call = { ...servedCall<'image.upload'>(), grant: (bytes: number) => void grants.push(bytes) }
  const memory = await UploadMemory.admit({ call, account: budget.account('one', caller) }, chunkBytes, never)
  memory.open()
  const granted = (): number => grants.splice(0).reduce((sum, bytes) => sum + bytes, 0)
  return { memory, granted }
}

/** Takes one message after the other, as a gateway that is faster than its agent does. */
const waitForAgent = (memory: UploadMemory, messages: number): void => {
  for (; messages > 0; messages--) {
    memory.read(MIB)
    memory.done(MIB)
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
      memory.read(MIB / 2)
      waiting++
      outstanding -= MIB / 2
    }
    memory.done(MIB / 2)
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
  memory.read(1000)
  memory.read(3 * MIB)
  memory.done(1000)
  expect(granted()).toBe(0)
  memory.done(3 * MIB)
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
    first.memory.read(MIB)
    first.memory.done(MIB)
  }
  const { memory } = await waiting
  expect(second).toBe(true)
  first.memory[Symbol.dispose]()
  memory[Symbol.dispose]()
  expect(budget.usedBytes).toBe(0)
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
