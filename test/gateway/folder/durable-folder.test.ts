// Folders: private, and no error where they are already there.
import { stat } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import { makeFolder } from '../../../gateway/folder/durable-folder.ts'
import { temporaryFolder } from '../datastore/fixture.ts'

test('makes private folders, once or again', async () => {
  await using folder = await temporaryFolder()
  await expect(makeFolder(path.join(folder.path, 'a/b'))).rejects.toMatchObject({ code: 'ENOENT' })
  const made = path.join(folder.path, 'a')
  await makeFolder(made)
  await makeFolder(made)
  expect((await stat(made)).mode & 0o777).toBe(0o700)
})
