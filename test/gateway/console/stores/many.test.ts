// Many machines at once: a few calls at a time, each with its own outcome, the newest work shown.
import { expect, test } from 'vitest'
import { Many } from '../../../../gateway/console/stores/many.ts'
import { VarveError } from '../../../../protocol/errors.ts'

test('a few are asked for at a time, and each refusal is kept with its machine', async () => {
  const many = new Many()
  const machines = Array.from({ length: 11 }, (_, index) => `m${index}`)
  let [open, most] = [0, 0]
  await many.run('Back up', machines, async (machine) => {
    most = Math.max(most, (open += 1))
    await Promise.resolve()
    open -= 1
    if (machine.endsWith('3')) throw new VarveError('AGENT_OFFLINE', 'away')
  })
  expect(most).toBe(4)
  const { refused, ...state } = many.state.value!
  expect(state).toEqual({ title: 'Back up', count: 11, done: 11, isOver: true })
  expect(refused.map(({ machine, error }) => [machine, error.code])).toEqual([['m3', 'AGENT_OFFLINE']])
})

test('work that was put away, or followed by another, does not come back', async () => {
  const many = new Many()
  const { promise, resolve } = Promise.withResolvers<void>()
  const first = many.run('first', ['a'], () => promise)
  expect(many.state.value).toMatchObject({ title: 'first', done: 0, isOver: false })
  many.putAway()
  expect(many.state.value).toBeNull()
  await many.run('second', [], () => promise)
  resolve()
  await first
  expect(many.state.value).toMatchObject({ title: 'second', isOver: true })
})
