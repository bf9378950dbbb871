// Small files that are laid whole, and folders whose names are synced.
import { execFileSync } from 'node:child_process'
import { readdir, readFile, stat } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import { layFile, syncFolder } from '../../../protocol/host/durable.ts'
import { temporaryFolder } from '../../gateway/datastore/fixture.ts'

test('a folder that is not there cannot be synced', async () => {
  await using folder = await temporaryFolder()
  await syncFolder(folder.path)
  await expect(syncFolder(path.join(folder.path, 'absent'))).rejects.toMatchObject({ code: 'ENOENT' })
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
