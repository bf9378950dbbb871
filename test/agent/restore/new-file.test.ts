// How a finished file takes its name: alone, in place of another, with the other's owner and rights.
import { spawn } from 'node:child_process'
import { chmod, chown, link, mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { NewFile, temporaryName } from '../../../agent/restore/new-file.ts'
import { eventually, tempFolder } from '../../support/temp.ts'
import { codeOf, failureOf } from './code-of.ts'

const make = async (final: string, force: boolean): Promise<NewFile> => {
  const file = await NewFile.make(final, { force })
  await writeFile(file.temporary, 'new')
  return file
}

test('a temporary name lies in the same folder, is another each time, and short whatever the name is', () => {
  const [one, two] = [temporaryName('/a/b/disk.raw'), temporaryName('/a/b/disk.raw')]
  expect(one).toMatch(/^\/a\/b\/\.varve-restore-/u)
  expect(one).not.toBe(two)
  expect(temporaryName(`/a/${'x'.repeat(255)}`).length).toBe(temporaryName('/a/x').length)
})

test('the longest name that a file can have is taken, and a longer one is refused in a sentence', async () => {
  await using temp = await tempFolder()
  const name = 'x'.repeat(255)
  await using file = await make(temp.join(name), false)
  expect(await file.publish()).toEqual([])
  expect(await readdir(temp.path)).toEqual([name])
  const error = await failureOf(
    (async () => {
      await using long = await make(temp.join(`${name}x`), false)
      await long.publish()
    })(),
  )
  expect(error).toMatchObject({ code: 'TARGET_INVALID', message: expect.stringContaining('255 bytes') })
  expect(await readdir(temp.path)).toEqual([name])
})

test('what appeared meanwhile is never replaced, or with force only where nobody uses it', async () => {
  await using temp = await tempFolder()
  const final = temp.join('disk')
  await using shy = await make(final, false)
  await using bold = await make(final, true)
  await writeFile(final, 'precious')
  // it is refused without a look too
  for (const file of [shy, bold]) expect(await codeOf(file.publish())).toBe('TARGET_EXISTS')
  expect(await codeOf(shy.check())).toBe('TARGET_EXISTS')
  const tail = spawn('tail', ['-f', final], { stdio: ['ignore', 'pipe', 'ignore'] })
  try {
    await new Promise((resolve) => tail.stdout.once('data', resolve))
    expect(await failureOf(bold.check())).toMatchObject({
      code: 'TARGET_IN_USE',
      message: expect.stringContaining(`tail (process ${tail.pid})`),
    })
  } finally {
    tail.kill()
  }
  expect(await readFile(final, 'utf8')).toBe('precious')
  await eventually(async () => (await codeOf(bold.check())) === 'none')
  await writeFile(temp.join('other'), 'other')
  await rename(final, temp.join('kept'))
  await rename(temp.join('other'), final)
  expect(await codeOf(bold.publish())).toBe('TARGET_EXISTS')
  await rename(temp.join('kept'), final)
  expect(await codeOf(bold.publish())).toBe('none')
  expect(await readFile(final, 'utf8')).toBe('new')
})

test('a file in place of another has its owner, group and mode, and says what has not', async (context) => {
  await using temp = await tempFolder()
  // a host that lets nobody give files away has nothing to test here
  if (process.getuid?.() !== 0) {
    context.skip('this process may not give files away')
    return
  }
  const final = temp.join('disk')
  await writeFile(final, 'old')
  await chown(final, 1234, 2345)
  await chmod(final, 0o640)
  await link(final, temp.join('also'))
  await using file = await make(final, true)
  expect((await stat(file.temporary)).mode & 0o777).toBe(0o600)
  expect(await file.publish()).toEqual([expect.stringContaining('another name (a hard link), which keeps')])
  const { uid, gid, mode } = await stat(final)
  expect({ uid, gid, mode: mode & 0o7777 }).toEqual({ uid: 1234, gid: 2345, mode: 0o640 })
  expect(await readFile(final, 'utf8')).toBe('new')
  expect(await readFile(temp.join('also'), 'utf8')).toBe('old')
})

test('says what kept a file from being made or from its name', async () => {
  await using temp = await tempFolder()
  const missing = await failureOf(NewFile.make(temp.join('no', 'disk'), { force: false }))
  expect(missing?.message).toBe(
    `cannot write ${temp.join('no', 'disk')}: its folder does not exist: make it first (ENOENT)`,
  )
  await mkdir(temp.join('gone'))
  await using file = await make(temp.join('gone', 'disk'), false)
  await rm(temp.join('gone'), { recursive: true })
  expect(await codeOf(file.publish())).toBe('TARGET_INVALID')
})
