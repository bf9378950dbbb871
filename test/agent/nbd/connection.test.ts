// The socket under the client: servers that break off, fall silent or drip, and what each wait ends with.
import { writeFile } from 'node:fs/promises'
import { describe, expect, test } from 'vitest'
import { NbdClient } from '../../../agent/nbd/client.ts'
import { tempFolder } from '../../support/temp.ts'
import { startQemuNbd } from './qemu-nbd.ts'
import {
  chunk,
  dataPayload,
  GREETING,
  holePayload,
  optionReply,
  simpleReply,
  startScriptedServer,
  type Peer,
} from './scripted-server.ts'

const connect = (socketPath: string, timeoutMs?: number): Promise<NbdClient> =>
  NbdClient.connect({ socketPath, exportName: 'disk', contexts: [], ...(timeoutMs === undefined ? {} : { timeoutMs }) })

const never = (): Promise<never> => new Promise(() => undefined)

describe('a connection that does not come about', () => {
  test('no socket, no server, no path', async () => {
    await using folder = await tempFolder('varve-nbd')
    await expect(connect(folder.join('s'))).rejects.toMatchObject({ code: 'NBD_ERROR', details: { errno: 'ENOENT' } })
    await expect(connect('')).rejects.toMatchObject({ code: 'NBD_ERROR', details: { errno: 'EINVAL' } })
    await expect(connect(folder.join('x'.repeat(200)))).rejects.toMatchObject({ code: 'NBD_ERROR' })
  })

  test.each<[string, string, (peer: Peer) => Promise<void>]>([
    ['closes at once', 'ECONNRESET', async (peer) => void peer.socket.end()],
    ['closes within the greeting', 'ECONNRESET', async (peer) => void peer.socket.end(GREETING.subarray(0, 9))],
    ['is silent', 'ETIMEDOUT', never],
    [
      'drips its handshake for ever',
      'ETIMEDOUT',
      async (peer) => {
        peer.send(GREETING)
        await peer.take(20)
        peer.send(optionReply(8, 1))
        for (;;) {
          peer.send(Buffer.alloc(1))
          await new Promise((resolve) => void setTimeout(resolve, 60))
        }
      },
    ],
  ])('the server %s', async (_, errno, script) => {
    await using server = await startScriptedServer(script)
    const timeoutMs = errno === 'ETIMEDOUT' ? 200 : undefined
    await expect(connect(server.socketPath, timeoutMs)).rejects.toMatchObject({ code: 'NBD_ERROR', details: { errno } })
  })
})

describe('a connection that ends under its requests fails them all, and later ones', () => {
  const half = chunk(1n, 1, dataPayload(0, Buffer.alloc(4096))).subarray(0, 2000)
  test.each<[string, object, (peer: Peer) => void]>([
    ['closed', { code: 'NBD_ERROR', details: { errno: 'ECONNRESET' } }, (peer) => peer.socket.end()],
    ['closed within a reply', { code: 'NBD_ERROR', details: { errno: 'ECONNRESET' } }, (peer) => peer.socket.end(half)],
    ['silent', { code: 'NBD_ERROR', details: { errno: 'ETIMEDOUT' } }, () => undefined],
    ['silent within a reply', { code: 'NBD_ERROR', details: { errno: 'ETIMEDOUT' } }, (peer) => peer.send(half)],
    ['nonsense', { code: 'NBD_PROTOCOL' }, (peer) => peer.send(Buffer.alloc(4096, 0x55))],
    ['a wrong cookie', { code: 'NBD_PROTOCOL' }, (peer) => peer.send(simpleReply(77n))],
    [
      'shutting down',
      { code: 'NBD_ERROR', details: { errno: 'ESHUTDOWN' } },
      (peer) => peer.send(simpleReply(2n, 108)),
    ],
  ])('%s', async (how, expected, act) => {
    await using server = await startScriptedServer(async (peer) => {
      await peer.shakeHands()
      await peer.takeRequest()
      await peer.takeRequest()
      act(peer)
      await never()
    })
    const client = await connect(server.socketPath, how.startsWith('silent') ? 200 : undefined)
    const calls = Array.from({ length: 40 }, (_, index) => client.readInto(index * 4096, Buffer.alloc(4096)))
    for (const outcome of await Promise.allSettled(calls)) {
      expect(outcome).toMatchObject({ status: 'rejected', reason: expected })
    }
    await expect(client.flush()).rejects.toMatchObject(expected)
    await client.close()
  })

  test('nothing more is written into the target of a failed read', async () => {
    await using server = await startScriptedServer(async (peer) => {
      await peer.shakeHands()
      await peer.takeRequest()
      peer.send(simpleReply(77n), chunk(1n, 1, dataPayload(0, Buffer.alloc(4096, 1))))
      await never()
    })
    await using client = await connect(server.socketPath)
    const target = Buffer.alloc(4096, 0xee)
    await expect(client.readInto(0, target)).rejects.toMatchObject({ code: 'NBD_PROTOCOL' })
    await client.close()
    expect(target).toEqual(Buffer.alloc(4096, 0xee))
  })
})

describe('a slow connection goes on', () => {
  test('a server that drips single bytes is not silent', async () => {
    await using server = await startScriptedServer(async (peer) => {
      await peer.shakeHands()
      const { cookie } = await peer.takeRequest()
      const reply = chunk(cookie, 2, holePayload(0, 4096))
      for (const byte of reply) {
        peer.send(Buffer.from([byte]))
        await new Promise((resolve) => void setTimeout(resolve, 20))
      }
    })
    await using client = await connect(server.socketPath, 400)
    const target = Buffer.alloc(4096, 0xee)
    await client.readInto(0, target)
    expect(target).toEqual(Buffer.alloc(4096))
  })

  test('an idle connection is not judged, and one that idled gets its whole time', async () => {
    await using server = await startScriptedServer(async (peer) => {
      await peer.shakeHands()
      for (let index = 0; index < 2; index += 1) {
        const { cookie } = await peer.takeRequest()
        await new Promise((resolve) => void setTimeout(resolve, 150 * index))
        peer.send(simpleReply(cookie))
      }
    })
    await using client = await connect(server.socketPath, 400)
    await client.flush()
    await new Promise((resolve) => void setTimeout(resolve, 900))
    await client.flush()
  })

  test('a server that falls silent after an idle time is found out', async () => {
    await using server = await startScriptedServer(async (peer) => {
      await peer.shakeHands()
      peer.send(simpleReply((await peer.takeRequest()).cookie))
      await never()
    })
    await using client = await connect(server.socketPath, 150)
    await client.flush()
    await new Promise((resolve) => void setTimeout(resolve, 400))
    await expect(client.flush()).rejects.toMatchObject({ code: 'NBD_ERROR', details: { errno: 'ETIMEDOUT' } })
  })

  test('an answer that came while this program was stalled counts', async () => {
    await using folder = await tempFolder('varve-nbd')
    const disk = folder.join('a.raw')
    await writeFile(disk, Buffer.alloc(65536, 7))
    await using server = await startQemuNbd(folder, '-r', '-f', 'raw', disk)
    await using client = await connect(server.socketPath, 200)
    const target = Buffer.alloc(65536)
    const read = client.readInto(0, target)
    // the request leaves at the end of this turn, and the answer waits behind a blocked event loop
    await new Promise<void>((resolve) => {
      process.nextTick(resolve)
    })
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 500)
    await read
    expect(target).toEqual(Buffer.alloc(65536, 7))
  })
})

test('close fails what waits with CANCELLED, says goodbye, and may be called twice', async () => {
  const goodbye = Promise.withResolvers<number>()
  await using server = await startScriptedServer(async (peer) => {
    await peer.shakeHands()
    await peer.takeRequest()
    goodbye.resolve((await peer.takeRequest()).command)
  })
  const client = await connect(server.socketPath)
  const read = client.readInto(0, Buffer.alloc(4096))
  const failed = expect(read).rejects.toMatchObject({ code: 'CANCELLED' })
  await Promise.all([client.close(), client.close()])
  await failed
  expect(await goodbye.promise).toBe(2)
  await expect(client.flush()).rejects.toMatchObject({ code: 'CANCELLED' })
})
