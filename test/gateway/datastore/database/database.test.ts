// The database on its thread and in the caller's: the same answers and errors, order, and the end.
import { randomUUID } from 'node:crypto'
import { expect, test } from 'vitest'
import { LocalDatabase, ThreadDatabase } from '../../../../gateway/datastore/database/database.ts'
import { codeOf } from '../../auth/test-authority.ts'
import { tempFolder } from '../../../support/temp.ts'

const tenant = (name: string) => ({
  name,
  uuid: randomUUID(),
  idKey: new Uint8Array(32).fill(1),
  chunkBytes: 4096,
  nowMs: 1,
})

test('both say the same, and one sees what the other wrote', async () => {
  await using temp = await tempFolder()
  await using thread = await ThreadDatabase.open(temp.join('db'))
  using local = new LocalDatabase(temp.join('db'))
  const added = await thread.call('tenant.add', tenant('a'))
  expect(added).toMatchObject({ name: 'a', idKey: new Uint8Array(32).fill(1) })
  expect(await local.call('tenant.byName', { name: 'a' })).toEqual(added)
  for (const database of [thread, local]) {
    const again = database.call('tenant.add', tenant('a'))
    await expect(again).rejects.toMatchObject({ code: 'EXISTS', message: 'there is a tenant "a" already' })
  }
  await local.call('tenant.add', tenant('b'))
  expect((await thread.call('tenant.list', {})).map(({ name }) => name)).toEqual(['a', 'b'])
})

test('details of an error cross the thread, and one that fails leaves nothing', async () => {
  await using temp = await tempFolder()
  await using thread = await ThreadDatabase.open(temp.join('db'))
  const { id } = await thread.call('tenant.add', tenant('a'))
  const bad = { id: randomUUID(), tenant: id, machineId: 99, agent: 'none', subject: 's', full: false, compare: false }
  await expect(thread.call('job.start', { ...bad, nowMs: 1 })).rejects.toMatchObject({ code: 'STORE_FAILED' })
  expect(await thread.call('job.list', { tenant: id, agent: null, machine: null, limit: 9 })).toEqual([])
})

test('calls are done in order, and those given before the end are answered', async () => {
  await using temp = await tempFolder()
  const thread = await ThreadDatabase.open(temp.join('db'))
  const values = Array.from({ length: 200 }, (_, index) =>
    thread.call('setting.init', { name: 'x', value: String(index) }),
  )
  const ended = thread[Symbol.asyncDispose]()
  expect(new Set(await Promise.all(values))).toEqual(new Set(['0']))
  await ended
  expect(await codeOf(thread.call('setting.get', { name: 'x' }))).toBe('STORE_FAILED')
  await thread[Symbol.asyncDispose]()
})

test('what cannot be opened is refused with a code that names no path', async () => {
  await using temp = await tempFolder()
  const refused = ThreadDatabase.open(temp.join('missing', 'db'))
  await expect(refused).rejects.toMatchObject({ code: 'STORE_FAILED' })
  await expect(refused).rejects.not.toThrow(temp.path)
})
