// New data folders on real file systems: made whole, or refused with a sentence and nothing left of them.
import { existsSync } from 'node:fs'
import { mkdir, readdir, stat, symlink, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import { makeDataFolder, makeFolders, pathProblem } from '../../../gateway/folder/new-folder.ts'
import { EXIT } from '../../../protocol/host/exit.ts'
import { tinyFileSystem } from '../../agent/restore/devices.ts'
import { Filler } from '../../support/full-disk.ts'
import { run } from '../../support/run.ts'
import { tempFolder } from '../../support/temp.ts'
import { runGateway } from '../program.ts'

const refusal = (folder: string): Promise<unknown> =>
  makeDataFolder(folder).then(
    () => 'made',
    (error: { code: string; message: string }) => `${error.code} ${error.message}`,
  )

test('a folder is made with those above it, private, tried and left empty; one that is there is left as it is', async () => {
  await using temp = await tempFolder()
  const deep = temp.join('a', 'b')
  await makeDataFolder(deep)
  expect((await stat(deep)).mode & 0o777).toBe(0o700)
  await writeFile(path.join(deep, 'mine'), 'text')
  await makeDataFolder(deep)
  expect(await readdir(deep)).toEqual(['mine'])
  expect(await makeFolders(temp.join('a', 'c', 'd'))).toEqual([temp.join('a', 'c'), temp.join('a', 'c', 'd')])
  // one with a path that no socket's name would hold
  const long = temp.join('l'.repeat(120))
  await makeDataFolder(long)
  expect(await readdir(long)).toEqual([])
})

test('what cannot be one is refused with its reason, and nothing is made', async () => {
  await using temp = await tempFolder()
  const file = temp.join('file')
  await writeFile(file, '')
  await symlink('loop', temp.join('loop'))
  await symlink(temp.join('gone'), temp.join('dangling'))
  const cases: readonly (readonly [string, string])[] = [
    ['/proc/varve', 'makes no folders'],
    ['/proc/varve/deep/er', 'makes no folders'],
    ['/proc/self/fd', 'makes no folders'],
    ['/dev/null', 'not a folder'],
    ['/dev/null/x', 'a part of this path is a file'],
    [file, 'it is a file'],
    [`${file}/`, 'it is a file'],
    [`${file}/below`, 'a part of this path is a file'],
    [temp.join('x'.repeat(300)), 'too long'],
    [temp.join('made', 'x'.repeat(300)), 'too long'],
    ['', 'no name'],
    ['~/varve', 'tilde'],
    ['a\nb', 'control characters'],
    ['a\0b', 'control characters'],
  ]
  for (const [folder, why] of cases)
    expect([folder, await refusal(folder)]).toEqual([
      folder,
      expect.stringMatching(new RegExp(`^CONFIG_INVALID .*${why}`, 'u')),
    ])
  for (const link of ['loop', 'dangling']) expect(await refusal(temp.join(link))).toMatch(/^CONFIG_INVALID /u)
  expect((await readdir(temp.path)).toSorted()).toEqual(['dangling', 'file', 'loop'])
  expect(pathProblem('./~')).toBe(null)
})

test('serve ends with 2 where its folder cannot be made, and does not spin', async () => {
  await using temp = await tempFolder()
  const folders = ['/proc/varve', '/dev/null', temp.join('x'.repeat(300)), '']
  const ended = await Promise.all(
    folders.map((data) => runGateway(['serve', '--listen', '127.0.0.1:0', '--data', data], {})),
  )
  for (const { code, stdout, stderr } of ended)
    expect([code, stdout, stderr.split('\n').filter((line) => !line.startsWith('(--help'))]).toEqual([
      EXIT.usage,
      '',
      [expect.any(String), ''],
    ])
})

test('a file system that can only be read, or is full, is named; one with too little for its reserve too', async (context) => {
  await using temp = await tempFolder()
  const disk = await tinyFileSystem(temp.join('disk'), 24 * 1024 * 1024)
  if (disk === null) {
    context.skip('this process may not mount a file system')
    return
  }
  await using mounted = disk
  const data = path.join(mounted.path, 'data')
  const serve = (...more: string[]): ReturnType<typeof runGateway> =>
    runGateway(['serve', '--listen', '127.0.0.1:0', '--data', data, ...more])
  const large = await serve('--reserve', '1G')
  expect([large.code, large.stderr]).toEqual([EXIT.usage, expect.stringContaining('no backup could ever be taken')])
  {
    using filler = new Filler(mounted.path)
    filler.fill()
    expect(await refusal(path.join(mounted.path, 'full'))).toContain('no space left')
    expect(existsSync(path.join(mounted.path, 'full'))).toBe(false)
  }
  await mkdir(path.join(mounted.path, 'there'))
  const added = await runGateway(['tenant', 'add', 'acme', '--data', path.join(mounted.path, 'there')])
  expect(added.code).toBe(EXIT.ok)
  await run('mount', ['-o', 'remount,ro', mounted.path])
  try {
    expect(await refusal(path.join(mounted.path, 'new'))).toContain('is read-only')
    for (const args of [['tenant', 'list'], ['gc'], ['serve', '--listen', '127.0.0.1:0']]) {
      const { code, stderr } = await runGateway([...args, '--data', path.join(mounted.path, 'there')])
      expect([args, code, stderr]).toEqual([args, EXIT.usage, expect.stringContaining('is read-only')])
    }
  } finally {
    await run('mount', ['-o', 'remount,rw', mounted.path])
  }
})
