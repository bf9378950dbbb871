// Secrets on disk: private, whole, and read only where nobody else can.
import { execFileSync } from 'node:child_process'
import { chmod, mkdir, readdir, stat, writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { VarveError } from '../../../protocol/errors.ts'
import { readSecret, removeUnnamed, writeSecret, writeUnnamed } from '../../../protocol/host/secret-file.ts'
import { tempFolder } from '../../support/temp.ts'

const read = (file: string): Promise<string | null> =>
  readSecret(file, 8, (fault) => new VarveError('CONFIG_INVALID', fault))

test('is written for its owner only, in place of the one before, and leaves nothing beside it', async () => {
  await using temp = await tempFolder()
  for (const text of ['one', 'two']) await writeSecret(temp.path, 'key', text)
  expect([await read(temp.join('key')), (await stat(temp.join('key'))).mode & 0o777]).toEqual(['two', 0o600])
  await mkdir(temp.join('folder/in'), { recursive: true })
  await expect(writeSecret(temp.path, 'folder', 'x')).rejects.toThrow()
  expect((await readdir(temp.path)).toSorted()).toEqual(['folder', 'key'])
})

test('without a name it goes with the next cleaning, and nothing else does', async () => {
  await using temp = await tempFolder()
  await writeSecret(temp.path, 'key', 'one')
  await writeUnnamed(temp.path, 'two')
  expect(await readdir(temp.path)).toHaveLength(2)
  await removeUnnamed(temp.path)
  expect(await readdir(temp.path)).toEqual(['key'])
})

test('is not read where there is none, where it is no file, open to others or too large', async () => {
  await using temp = await tempFolder()
  expect(await read(temp.join('none'))).toBeNull()
  execFileSync('mkfifo', ['-m', '600', temp.join('pipe')])
  await expect(read(temp.join('pipe'))).rejects.toThrow('no file')
  await writeFile(temp.join('open'), 'x')
  await chmod(temp.join('open'), 0o640)
  await expect(read(temp.join('open'))).rejects.toThrow('open to others')
  await writeFile(temp.join('large'), '123456789', { mode: 0o600 })
  await expect(read(temp.join('large'))).rejects.toThrow('too large')
})
