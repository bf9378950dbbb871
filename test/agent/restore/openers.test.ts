// Who has a file open, by which names.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { link, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { expect, test } from 'vitest'
import { fileKey, findOpeners, guestName, type FileKey } from '../../../agent/restore/openers.ts'
import { tempFolder } from '../../support/temp.ts'

const none: ReadonlySet<FileKey> = new Set()

test('a file is known under all its names, and what is none has no key', async () => {
  await using temp = await tempFolder()
  await writeFile(temp.join('a'), '')
  await link(temp.join('a'), temp.join('b'))
  expect(await fileKey(temp.join('a'))).toBe(await fileKey(temp.join('b')))
  expect(await fileKey(temp.path)).toBeNull()
  expect(await fileKey('/dev/null')).toBeNull()
  expect(await fileKey(temp.join('none'))).toBeNull()
})

test('readers count where anyone does, and only writers where they alone do', async () => {
  await using temp = await tempFolder()
  const file = temp.join('disk')
  await writeFile(file, 'x')
  const key = new Set([(await fileKey(file))!])
  for (const [mode, writes] of [
    ['3<', false],
    ['3<>', true],
    ['3>>', true],
  ] as const) {
    const child = spawn('sh', ['-c', `exec ${mode}"$0"; echo; exec sleep 600`, file], {
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    try {
      await once(child.stdout, 'data')
      const pids = async (wanted: Parameters<typeof findOpeners>[0], except = none): Promise<number[]> =>
        (await findOpeners(wanted, new Set([...except].map(Number)))).map(({ pid }) => pid)
      expect(await pids({ any: key, writers: none })).toEqual([child.pid])
      expect(await pids({ any: none, writers: key })).toEqual(writes ? [child.pid] : [])
      expect(await pids({ any: key, writers: none }, new Set([String(child.pid)]))).toEqual([])
    } finally {
      child.kill()
      await once(child, 'exit')
    }
  }
})

test('a process is told with its name and the sockets on which it listens', async () => {
  await using temp = await tempFolder()
  await writeFile(temp.join('disk'), 'x')
  const code = `const { openSync } = require('node:fs')
    openSync('disk', 'r')
    require('node:net').createServer().listen('here.sock', () => console.log('up'))`
  const child = spawn(process.execPath, ['-e', code], { cwd: temp.path, stdio: ['ignore', 'pipe', 'inherit'] })
  const other = createServer().listen(temp.join('other.sock'))
  try {
    await once(child.stdout, 'data')
    const [opener] = await findOpeners(
      { any: new Set([(await fileKey(temp.join('disk')))!]), writers: none },
      new Set(),
    )
    expect(opener).toMatchObject({ pid: child.pid, guest: null, sockets: [temp.join('here.sock')] })
  } finally {
    other.close()
    child.kill()
  }
})

test('the name of a guest', () => {
  expect(guestName(['qemu', '-name', 'db1', '-m', '64'])).toBe('db1')
  expect(guestName(['qemu', '-name', 'guest=db1,debug-threads=on'])).toBe('db1')
  expect(guestName(['qemu', '-name', 'process=x'])).toBeNull()
  expect(guestName(['qemu', '-m', '64'])).toBeNull()
  expect(guestName(['qemu', '-name'])).toBeNull()
})
