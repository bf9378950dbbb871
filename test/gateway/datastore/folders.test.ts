// Folders: made with their parents or not at all, private, and no error where they are already there.
import { stat } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import { makeFolder, syncFolder } from '../../../gateway/datastore/folders.ts'
import { temporaryFolder } from './fixture.ts'

test('makes private folders, once or again', async () => {
  await using folder = await temporaryFolder()
  const deep = path.join(folder.path, 'a/b/c')
  await expect(makeFolder(deep, { recursive: false })).rejects.toMatchObject({ code: 'ENOENT' })
  await makeFolder(deep, { recursive: true })
  await makeFolder(deep, { recursive: true })
  await makeFolder(deep, { recursive: false })
  expect((await stat(deep)).mode & 0o777).toBe(0o700)
  await syncFolder(deep)
  await expect(syncFolder(path.join(deep, 'absent'))).rejects.toMatchObject({ code: 'ENOENT' })
})
