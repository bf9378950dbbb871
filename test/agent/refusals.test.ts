// What the gateway refused, between the running agent and the commands beside it.
import { readdir, stat, writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { noteRefusals, readRefusals } from '../../agent/refusals.ts'
import { tempFolder } from '../support/temp.ts'

const refused = [{ machine: 'db1', code: 'EXISTS' as const, message: 'it belongs to the agent of host hv2' }]

test('is noted for the agent that was refused, until it is not any more', async () => {
  await using temp = await tempFolder()
  expect(await readRefusals(temp.path, 'a1')).toEqual([])
  await noteRefusals(temp.path, 'a1', refused)
  expect(await readRefusals(temp.path, 'a1')).toEqual(refused)
  expect(await readRefusals(temp.path, 'a2')).toEqual([])
  expect((await stat(temp.join('refusals.json'))).mode & 0o777).toBe(0o600)
  await noteRefusals(temp.path, 'a1', [])
  expect(await readdir(temp.path)).toEqual([])
})

test('a note that cannot be read is none', async () => {
  await using temp = await tempFolder()
  for (const text of ['', '{}', '{"agent":"a1","refused":[{"machine":"db1","code":"NONE","message":""}]}']) {
    await writeFile(temp.join('refusals.json'), text)
    expect(await readRefusals(temp.path, 'a1')).toEqual([])
  }
})
