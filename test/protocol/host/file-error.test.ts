// The words for files that cannot be used, from real failures.
import { mkdir, open, readFile, symlink, writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { asFileError, fileError } from '../../../protocol/host/file-error.ts'
import { tempFolder } from '../../support/temp.ts'

const thrownBy = async (work: () => Promise<unknown>): Promise<unknown> =>
  work().then(
    () => null,
    (thrown: unknown) => thrown,
  )

test('each failure of a file has words, its path and its code', async () => {
  await using temp = await tempFolder()
  await writeFile(temp.join('file'), '')
  await symlink('loop', temp.join('loop'))
  await mkdir(temp.join('folder'))
  const failures: readonly (readonly [() => Promise<unknown>, RegExp])[] = [
    [() => readFile(temp.join('none')), /none: it does not exist \(ENOENT\)$/u],
    [() => open(temp.join('folder'), 'w'), /folder: it is a folder, not a file \(EISDIR\)$/u],
    [() => mkdir(temp.join('file/below')), /below: a part of its path is a file.* \(ENOTDIR\)$/u],
    [() => readFile(temp.join('loop')), /loop: its symbolic links form a loop.* \(ELOOP\)$/u],
    [() => readFile(temp.join('x'.repeat(300))), /its name is too long \(ENAMETOOLONG\)$/u],
  ]
  for (const [work, says] of failures)
    expect(asFileError(await thrownBy(work))).toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringMatching(says) as string,
    })
})

test('what is no failure of a file stays what it is', () => {
  const bug = new TypeError('x is not a function')
  expect(asFileError(bug)).toBe(bug)
  expect(fileError('x', bug)).toBe(bug)
})
