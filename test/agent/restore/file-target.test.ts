// Files that a restore goes on with: kept when it is broken off, read and cut before they are written, and nobody else's.
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { link, readdir, readFile, symlink, truncate, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import { NbdClient } from '../../../agent/nbd/client.ts'
import type { FileTarget } from '../../../agent/restore/file-target.ts'
import { IMAGE_EXPORT } from '../../../agent/restore/image-server.ts'
import { makeQcow2File } from '../../../agent/restore/qcow2-target.ts'
import { makeRawFile } from '../../../agent/restore/raw-target.ts'
import { commitTarget } from '../../../agent/restore/target.ts'
import { run } from '../../support/run.ts'
import { tempFolder, type TempFolder } from '../../support/temp.ts'
import { codeOf } from './code-of.ts'

const MIB = 1024 * 1024
const SIZE = 8 * MIB + 512

type Format = 'raw' | 'qcow2'

const opener = (temp: TempFolder, format: Format) => {
  const final = temp.join(`disk.${format}`)
  const make = format === 'raw' ? makeRawFile : makeQcow2File
  return {
    final,
    partial: `${final}.partial`,
    open: (size = SIZE): Promise<FileTarget> => make(final, size, { force: false, resume: true }),
  }
}

const readAll = async (target: FileTarget): Promise<Buffer> => {
  await using served = await target.serve()
  await using client = await NbdClient.connect({
    socketPath: served.socketPath,
    exportName: IMAGE_EXPORT,
    contexts: [],
  })
  const bytes = Buffer.alloc(SIZE)
  await client.readInto(0, bytes)
  return bytes
}

test.for(['raw', 'qcow2'] as const)('a %s file is kept, read, cut and gone on with', async (format) => {
  await using temp = await tempFolder()
  const { final, partial, open } = opener(temp, format)
  const disk = randomBytes(SIZE)
  disk.fill(0, 5 * MIB, 6 * MIB)
  {
    await using target = await open()
    expect(target.isKept).toBe(false)
    await target.write(0, disk.subarray(0, 3 * MIB))
    // of another disk, and no whole cluster
    await target.write(3 * MIB, randomBytes(3 * MIB + 4096))
  }
  expect(await readdir(temp.path)).toEqual([`disk.${format}.partial`])
  {
    await using target = await open()
    expect(target.isKept).toBe(true)
    expect((await readAll(target)).subarray(0, 3 * MIB).equals(disk.subarray(0, 3 * MIB))).toBe(true)
    await target.cut(3 * MIB + 512)
    const zeroes = (await readAll(target)).subarray(3 * MIB + 512)
    expect(zeroes.every((byte) => byte === 0)).toBe(true)
    await target.write(3 * MIB, disk.subarray(3 * MIB, 5 * MIB))
    await target.zero()
    await target.write(6 * MIB, disk.subarray(6 * MIB))
    await commitTarget(target)
  }
  expect(await readdir(temp.path)).toEqual([`disk.${format}`])
  const plain = temp.join('plain')
  await run('qemu-img', ['convert', '-f', format, '-O', 'raw', final, plain])
  expect((await readFile(plain)).equals(disk)).toBe(true)
  expect(partial).toContain(final)
})

test.for(['raw', 'qcow2'] as const)('a %s file of another size, or of something else, begins anew', async (format) => {
  await using temp = await tempFolder()
  const { partial, open } = opener(temp, format)
  for (const size of [SIZE - MIB, SIZE + MIB]) {
    await using target = await open(size)
    await target.write(0, randomBytes(4096))
  }
  if (format === 'qcow2') {
    await writeFile(temp.join('base'), randomBytes(MIB))
    await run('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', temp.join('base'), '-F', 'raw', partial, String(SIZE)])
  } else await truncate(partial, 100)
  await using target = await open()
  const bytes = await readAll(target)
  expect(bytes.subarray(4096).every((byte) => byte === 0)).toBe(true)
})

test('a link, a file with another name, and one that somebody uses are not gone on with', async () => {
  await using temp = await tempFolder()
  const { partial, open } = opener(temp, 'raw')
  const secret = temp.join('secret')
  await writeFile(secret, 'secret')
  await symlink(secret, partial)
  expect(await codeOf(open())).toBe('TARGET_INVALID')
  await run('rm', [partial])
  await link(secret, partial)
  expect(await codeOf(open())).toBe('TARGET_INVALID')
  expect(await readFile(secret, 'utf8')).toBe('secret')
  await run('rm', [partial])

  await writeFile(partial, 'part')
  const user = spawn('sh', ['-c', 'exec 3<>"$1"; echo open; read line', 'sh', partial], {
    stdio: ['pipe', 'pipe', 'ignore'],
  })
  const ended = once(user, 'close')
  await once(user.stdout, 'data')
  expect(await codeOf(open())).toBe('TARGET_IN_USE')
  user.stdin.end()
  await ended
  await using target = await open()
  expect(target.isKept).toBe(true)
})

/** Opens a file to go on with in a process of its own, in which another one opens it right after it was looked at. */
const LATE = `
  import { spawn } from 'node:child_process'
  import { once } from 'node:events'
  import fs from 'node:fs/promises'
  import { syncBuiltinESMExports } from 'node:module'
  const { open } = fs
  let holder = null
  fs.open = async (file, flags) => {
    if (typeof flags === 'number' && file.endsWith('.partial')) {
      holder = spawn('sh', ['-c', 'exec 3<>"$1"; echo open; read line', 'sh', file], { stdio: ['pipe', 'pipe', 'inherit'] })
      await once(holder.stdout, 'data')
    }
    return await open(file, flags)
  }
  syncBuiltinESMExports()
  const { openTarget } = await import(process.argv[1])
  const how = { path: process.argv[2], size: ${SIZE}, format: 'raw', force: false, resume: true }
  const code = await openTarget(how).then(() => 'open', (error) => error.code)
  process.stdout.write(code)
  process.exit()`

test('one that another restore has opened since it was looked at is not gone on with', async () => {
  await using temp = await tempFolder()
  const { final, partial } = opener(temp, 'raw')
  const module = path.resolve(import.meta.dirname, '../../../agent/restore/open-target.ts')
  expect(await run(process.execPath, ['--input-type=module', '-e', LATE, module, final])).toBe('TARGET_IN_USE')
  // and it is not touched
  expect(await readFile(partial, 'utf8')).toBe('')
})
