// The state folder's making: level by level, private, and refused with a sentence where there cannot be one.
import { existsSync } from 'node:fs'
import { stat, writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { removeFolders } from '../../agent/make-folder.ts'
import { makeStateFolder, STATE_FOLDER_MODE } from '../../agent/state-folder.ts'
import { tempFolder } from '../support/temp.ts'

test('makes what is missing, leaves what is there, and takes back only what is empty', async () => {
  await using temp = await tempFolder()
  const deep = temp.join('a', 'b')
  const made = await makeStateFolder(deep)
  expect(made).toEqual([temp.join('a'), deep])
  expect((await stat(deep)).mode & 0o777).toBe(STATE_FOLDER_MODE)
  expect(await makeStateFolder(deep)).toEqual([])
  await writeFile(temp.join('a', 'kept'), '')
  await removeFolders(made)
  expect([existsSync(deep), existsSync(temp.join('a'))]).toEqual([false, true])
})

test('a place that cannot be one is named with the reason, and nothing is left there', async () => {
  await using temp = await tempFolder()
  const file = temp.join('file')
  await writeFile(file, '')
  for (const [state, why] of [
    [file, 'not a folder'],
    [`${file}/below`, 'a part of this path is a file'],
    ['/dev/null', 'not a folder'],
    ['/proc/varve/agent', 'no folder can be made'],
    [temp.join('a', 'x'.repeat(300)), 'too long'],
  ] as const)
    await expect(makeStateFolder(state)).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringMatching(new RegExp(`^${state} .*${why}`, 'u')) as string,
    })
  expect(existsSync(temp.join('a'))).toBe(false)
})
