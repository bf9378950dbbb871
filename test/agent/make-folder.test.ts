// Folders and those above them, also where none can be made.
import { readdir, stat, symlink, writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { makeFolder } from '../../agent/make-folder.ts'
import { tempFolder } from '../support/temp.ts'

test('makes what is missing, once', async () => {
  await using temp = await tempFolder()
  const folder = temp.join('a', 'b', 'c')
  expect(await makeFolder(folder, 0o711)).toEqual(['a', 'a/b', 'a/b/c'].map((name) => temp.join(name)))
  expect((await stat(folder)).mode & 0o777).toBe(0o711)
  expect(await makeFolder(folder, 0o700)).toEqual([])
  await Promise.all([1, 2, 3].map(() => makeFolder(temp.join('x', 'y'), 0o700)))
  expect(await readdir(temp.join('x'))).toEqual(['y'])
})

test('ends with the system’s error where no folder can be', async () => {
  await using temp = await tempFolder()
  await writeFile(temp.join('file'), '')
  await symlink(temp.join('nowhere'), temp.join('link'))
  for (const [folder, code] of [
    [temp.join('file'), 'ENOTDIR'],
    [temp.join('file', 'x'), 'ENOTDIR'],
    [temp.join('x'.repeat(300)), 'ENAMETOOLONG'],
    ['/proc/varve/x', 'ENOENT'],
  ] as const)
    await expect(makeFolder(folder, 0o700), folder).rejects.toMatchObject({ code })
})
