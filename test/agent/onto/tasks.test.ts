// Bounded work: never more at once than there is room for, and no failure is lost.
import { expect, test } from 'vitest'
import { Tasks } from '../../../agent/onto/tasks.ts'

test('runs so many at once, and waits for all', async () => {
  const tasks = new Tasks(3)
  let [running, most, done] = [0, 0, 0]
  for (let work = 0; work < 20; work++)
    await tasks.add(async () => {
      most = Math.max(most, ++running)
      await new Promise((resolve) => setImmediate(resolve))
      running--
      done++
    })
  await tasks.done()
  expect({ most, done }).toEqual({ most: 3, done: 20 })
})

test('tells the first failure whenever it came, and begins nothing after it', async () => {
  const tasks = new Tasks(2)
  await tasks.add(() => Promise.reject(new Error('first')))
  await new Promise((resolve) => setImmediate(resolve))
  await expect(tasks.add(() => Promise.reject(new Error('begun')))).rejects.toThrow('first')
  await expect(tasks.done()).rejects.toThrow('first')
  await tasks.settled()
})
