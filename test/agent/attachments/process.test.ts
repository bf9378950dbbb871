// Finding the process behind a socket: this one's own, another path to it, and sockets that nobody has.
import { mkdir, readFile, symlink } from 'node:fs/promises'
import { createServer } from 'node:net'
import { once } from 'node:events'
import { expect, test } from 'vitest'
import { commandOfListener } from '../../../agent/attachments/process.ts'
import { tempFolder } from '../../support/temp.ts'

test('the process that listens is found by the socket’s path, also through a link', async () => {
  await using temp = await tempFolder()
  await mkdir(temp.join('a'))
  const server = createServer()
  server.listen(temp.join('a', 'sock'))
  await once(server, 'listening')
  await symlink('a', temp.join('b'))
  const ownCommand = (await readFile('/proc/self/cmdline', 'utf8')).replace(/\0$/u, '').split('\0')
  for (const file of [temp.join('a', 'sock'), temp.join('b', 'sock')])
    expect(await commandOfListener(file)).toEqual({ args: ownCommand, reader: null })
  server.close()
  await once(server, 'close')
  expect(await commandOfListener(temp.join('a', 'sock'))).toEqual({ missing: expect.stringContaining('no process') })
})

test('where /proc cannot be read, that is said', async () => {
  await using temp = await tempFolder()
  expect(await commandOfListener('/x', temp.path)).toEqual({ missing: 'no process of this host listens on /x' })
})

test('where a name with a line break forges a socket of the same path, or one was replaced, none is taken', async () => {
  await using temp = await tempFolder()
  const file = temp.join('sock')
  const server = createServer().listen(file)
  await once(server, 'listening')
  // the kernel writes names as they are, also abstract ones, which need no folder
  const forger = createServer().listen(`\0x\n0: 0 0 10000 1 01 9 ${file}\n`)
  await once(forger, 'listening')
  expect(await commandOfListener(file)).toEqual({ missing: `more than one socket listens on ${file}` })
  forger.close()
  await once(forger, 'close')
  expect(await commandOfListener(file)).toHaveProperty('args')
  server.close()
})
