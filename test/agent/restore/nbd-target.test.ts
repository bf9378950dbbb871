// Exports of NBD servers as targets of a restore: qemu-nbd on a UNIX socket and on TCP, and what is refused.
import { randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { pipeline } from 'node:stream'
import { expect, test } from 'vitest'
import { NbdTarget } from '../../../agent/restore/nbd-target.ts'
import { isNbdUri, parseNbdUri } from '../../../agent/restore/nbd-uri.ts'
import { commitTarget } from '../../../agent/restore/target.ts'
import { tempFolder } from '../../support/temp.ts'
import { startQemuNbd } from '../nbd/qemu-nbd.ts'
import { codeOf, failureOf } from './code-of.ts'

const MIB = 1024 * 1024

test('NBD URIs name a server and an export, and what is not understood is said', () => {
  expect(parseNbdUri('nbd://store.example/vm%20disk')).toEqual({
    place: { host: 'store.example', port: 10_809 },
    exportName: 'vm disk',
  })
  expect(parseNbdUri('nbd://[::1]:9000/')).toEqual({ place: { host: '::1', port: 9000 }, exportName: '' })
  expect(parseNbdUri('nbd+unix:///disk?socket=/run/a%20b.sock')).toEqual({
    place: { socketPath: '/run/a b.sock' },
    exportName: 'disk',
  })
  expect(['nbd://a', 'nbd+unix:///?socket=/s', 'nbds://a/b', 'nbd.raw', './nbd:', '/nbd'].map(isNbdUri)).toEqual([
    true,
    true,
    true,
    false,
    false,
    false,
  ])
  for (const [text, why] of [
    ['nbds://a/b', 'TLS'],
    ['nbd+vsock://1:2/b', 'nbd+unix:///EXPORT'],
    ['nbd+unix:///disk', '?socket=PATH'],
    ['nbd://a:port/b', 'no URI'],
    ['nbd:///b', 'names no host'],
    ['nbd://a/%', 'not encoded'],
  ] as const)
    expect(() => parseNbdUri(text)).toThrow(why)
})

test('a disk is written, zeroes too, flushed, and what is behind it stays', async () => {
  await using temp = await tempFolder()
  const file = temp.join('disk.raw')
  const before = randomBytes(5 * MIB)
  await writeFile(file, before)
  await using server = await startQemuNbd(temp, '--format=raw', '--discard=unmap', file)
  const uri = `nbd+unix:///disk?socket=${server.socketPath}`
  expect(await codeOf(NbdTarget.open(uri, MIB, { force: false }))).toBe('TARGET_EXISTS')
  const large = await failureOf(NbdTarget.open(uri, 6 * MIB, { force: true }))
  expect(large).toMatchObject({ code: 'TARGET_INVALID', message: expect.stringContaining('fewer than the disk') })
  const head = randomBytes(MIB)
  {
    await using target = await NbdTarget.open(uri, 4 * MIB, { force: true })
    await Promise.all([target.write(0, head), target.zero(MIB, 3 * MIB)])
    expect(await commitTarget(target)).toEqual([])
  }
  expect((await readFile(file)).equals(Buffer.concat([head, Buffer.alloc(3 * MIB), before.subarray(4 * MIB)]))).toBe(
    true,
  )
})

test('over TCP as well, and a server that is away, gone or read-only is an error about the target', async () => {
  await using temp = await tempFolder()
  const file = temp.join('disk.raw')
  await writeFile(file, Buffer.alloc(MIB, 1))
  await using server = await startQemuNbd(temp, '--format=raw', file)
  const relay = createServer((socket) => {
    // Ends both where one ends: a piped socket whose other side is gone is read no more, and never closes.
    pipeline(socket, connect(server.socketPath), socket, () => socket.destroy())
  })
  await new Promise<void>((resolve) => relay.listen(0, '127.0.0.1', resolve))
  const { port } = relay.address() as { port: number }
  {
    await using target = await NbdTarget.open(`nbd://127.0.0.1:${port}/disk`, MIB, { force: true })
    await target.write(0, new Uint8Array(4096).fill(9))
    await commitTarget(target)
    expect((await readFile(file)).subarray(0, 4097)).toEqual(Buffer.concat([Buffer.alloc(4096, 9), Buffer.alloc(1, 1)]))
    await server.kill()
    expect(await codeOf(target.write(0, new Uint8Array(4096)))).toBe('TARGET_INVALID')
  }
  await new Promise((resolve) => relay.close(resolve))
  expect(await codeOf(NbdTarget.open(`nbd://127.0.0.1:${port}/disk`, MIB, { force: true }))).toBe('TARGET_INVALID')
  await using reading = await startQemuNbd(temp, '--read-only', '--format=raw', file)
  const refused = await failureOf(NbdTarget.open(`nbd+unix:///disk?socket=${reading.socketPath}`, MIB, { force: true }))
  expect(refused).toMatchObject({ code: 'TARGET_INVALID', message: expect.stringContaining('is read-only') })
})

test('a server that says nothing any more holds nobody up who wants to end', async () => {
  await using temp = await tempFolder()
  const file = temp.join('disk.raw')
  await writeFile(file, Buffer.alloc(MIB))
  await using server = await startQemuNbd(temp, '--format=raw', file)
  const ending = new AbortController()
  const how = { force: true, signal: ending.signal }
  await using target = await NbdTarget.open(`nbd+unix:///disk?socket=${server.socketPath}`, MIB, how)
  process.kill(server.pid, 'SIGSTOP')
  try {
    const writing = codeOf(target.write(0, new Uint8Array(MIB)))
    ending.abort()
    expect(await writing).toBe('CANCELLED')
    await target[Symbol.asyncDispose]()
  } finally {
    process.kill(server.pid, 'SIGCONT')
  }
})
