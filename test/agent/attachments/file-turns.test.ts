// Looks at files that never end: each is given up in time, and while one hangs no other takes a thread.
import { expect, test } from 'vitest'
import { FileTurns } from '../../../agent/attachments/file-turns.ts'

test('while a look hangs, no other one begins; once it has ended, they go on', async () => {
  const turns = new FileTurns()
  const hung = Promise.withResolvers<string>()
  let begun = 0
  const look = (): Promise<number> => Promise.resolve(++begun)
  expect(await turns.ask('/a', look, 20_000)).toBe(1)
  const stuck = turns.ask('/dead/file', () => hung.promise, 10)
  const waiting = turns.ask('/b', look, 20_000)
  await expect(stuck).rejects.toThrow('it did not answer within')
  await expect(waiting).rejects.toThrow('/dead/file was asked for before it and has not answered yet')
  await expect(turns.ask('/c', look, 20_000)).rejects.toThrow('/dead/file')
  expect(begun).toBe(1)
  hung.resolve('late')
  await hung.promise
  await new Promise((resolve) => setImmediate(resolve))
  expect(await turns.ask('/d', look, 20_000)).toBe(2)
})

test('what a look rejects with is passed on, and stops no other', async () => {
  const turns = new FileTurns()
  await expect(turns.ask('/a', () => Promise.reject(new Error('broken')), 20_000)).rejects.toThrow('broken')
  expect(await turns.ask('/b', () => Promise.resolve('well'), 20_000)).toBe('well')
})
