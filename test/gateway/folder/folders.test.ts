// Folders: private, and no error where they are already there.
import { execFileSync } from 'node:child_process'
import { readdir, readFile, stat } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import { layFile, makeFolder, syncFolder } from '../../../gateway/folder/folders.ts'
import { temporaryFolder } from '../datastore/fixture.ts'

test('makes private folders, once or again', async () => {
  await using folder = await temporaryFolder()
  await expect(makeFolder(path.join(folder.path, 'a/b'))).rejects.toMatchObject({ code: 'ENOENT' })
  const made = path.join(folder.path, 'a')
  await makeFolder(made)
  await makeFolder(made)
  expect((await stat(made)).mode & 0o777).toBe(0o700)
  await syncFolder(made)
  await expect(syncFolder(path.join(made, 'absent'))).rejects.toMatchObject({ code: 'ENOENT' })
})

test('a file is laid over whatever has its name and over what a crash left; a pipe keeps nobody waiting', async () => {
  await using folder = await temporaryFolder()
  const file = path.join(folder.path, 'note')
  execFileSync('mkfifo', [file, `${file}.new`])
  await layFile(file, 'one')
  await layFile(file, 'two')
  expect(await readFile(file, 'utf8')).toBe('two')
  expect((await stat(file)).mode & 0o777).toBe(0o600)
  expect(await readdir(folder.path)).toEqual(['note'])
})
