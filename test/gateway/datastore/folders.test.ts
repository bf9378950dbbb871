// Folders: made with their parents or not at all, private, and no error where they are already there.
import { execFileSync } from 'node:child_process'
import { readdir, readFile, stat } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import { layFile, makeFolder, syncFolder } from '../../../gateway/datastore/folders.ts'
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
