// Which point or machine a command's argument names.
import { expect, test } from 'vitest'
import type { CommandContext } from '../../../agent/commands/context.ts'
import { checkPoint, pointAt } from '../../../agent/commands/which-point.ts'
import { VarveError } from '../../../protocol/errors.ts'

/** A gateway that knows one machine, db1, and no point. */
const ask = async (method: string, params: object): Promise<unknown> => {
  if (method === 'machines.list') return { machines: [{ name: 'db1' }], next: null }
  if (Reflect.get(params, 'machine') !== 'db1') throw new VarveError('NOT_FOUND', 'there is no such machine')
  return { points: [], next: null }
}

const context = {
  ask,
  config: { gateway: '', state: '', machines: [] },
  record: null,
} as unknown as CommandContext

test('a machine that the gateway does not know is told with the one that was meant', async () => {
  await expect(pointAt(context, 'db2', 'now')).rejects.toThrow('there is no machine "db2"; did you mean "db1"?')
  await expect(pointAt(context, 'two words', 'now')).rejects.toThrow('"two words"; this tenant has: db1')
  await expect(pointAt(context, 'db1', 'now')).rejects.toThrow('there is no restore point of db1: it has none')
})

test('without a time a command takes no name of a machine', () => {
  expect(() => checkPoint('db1', undefined)).toThrow("a machine's name goes with --at TIME")
  checkPoint('DB1A', undefined)
  checkPoint('db1', 'now')
})
