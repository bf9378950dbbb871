// Identities of a host before the one that it has: kept whole, and known by their ids.
import { mkdir, readFile, stat, writeFile } from 'node:fs/promises'
import { randomUUID } from 'node:crypto'
import { expect, test } from 'vitest'
import { formerAgents, keepFormer } from '../../agent/former-identities.ts'
import { tempFolder } from '../support/temp.ts'

test('keeps the record and every key but the new one, for the owner alone', async () => {
  await using temp = await tempFolder()
  const [old, older, fresh] = [randomUUID(), randomUUID(), randomUUID()]
  expect(await formerAgents(temp.path)).toEqual([])
  await writeFile(temp.join('identity.json'), JSON.stringify({ agentId: old }))
  for (const id of [old, older, fresh]) await writeFile(temp.join(`agent-${id}.key`), id)
  await keepFormer(temp.path, 'identity.json', `agent-${fresh}.key`)
  expect((await formerAgents(temp.path)).sort()).toEqual([old, older].sort())
  for (const id of [old, older]) {
    const key = temp.join('former', id, `agent-${id}.key`)
    expect(await readFile(key, 'utf8')).toBe(id)
    expect((await stat(key)).mode & 0o777).toBe(0o600)
  }
  expect(JSON.parse(await readFile(temp.join('former', old, 'identity.json'), 'utf8'))).toEqual({ agentId: old })
})

test('keeps a record that cannot be read under a name of its own', async () => {
  await using temp = await tempFolder()
  for (const text of ['{', '{"agentId":"../../etc"}', 'null']) {
    await writeFile(temp.join('identity.json'), text)
    await keepFormer(temp.path, 'identity.json', 'none')
  }
  await mkdir(temp.join('former', 'notes'))
  expect(await formerAgents(temp.path)).toEqual([])
})
