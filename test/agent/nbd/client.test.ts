// The NBD client against real qemu-nbd, and against scripted answers that qemu-nbd does not give.
import { createHash, randomBytes } from 'node:crypto'
import { readFile, truncate, writeFile } from 'node:fs/promises'
import { Worker } from 'node:worker_threads'
import { describe, expect, test } from 'vitest'
import { NbdClient, type StatusExtent } from '../../../agent/nbd/client.ts'
import { run } from '../../support/run.ts'
import { tempFolder } from '../../support/temp.ts'
import { qemuIo, startQemuNbd } from './qemu-nbd.ts'
import { chunk, dataPayload, errorPayload, simpleReply, startScriptedServer } from './scripted-server.ts'

const MIB = 1 << 20
const ALLOCATION = 'base:allocation'
const BITMAP = 'qemu:dirty-bitmap:cp1'

const connect = (socketPath: string, ...contexts: string[]): Promise<NbdClient> =>
  NbdClient.connect({ socketPath, exportName: 'disk', contexts })

/** Reads all of an export in pieces of `pieceBytes`, all at once, the pieces dealt out to the clients. */
const readAll = async (clients: readonly NbdClient[], pieceBytes: number): Promise<Buffer> => {
  const size = clients[0]?.size ?? 0
  const whole = Buffer.alloc(size, 0xee)
  const stepBytes = pieceBytes * clients.length
  const reads = clients.flatMap((client, index) => {
    const offsets: number[] = []
    for (let at = index * pieceBytes; at < size; at += stepBytes) offsets.push(at)
    return offsets.map((at) => client.readInto(at, whole.subarray(at, at + pieceBytes)))
  })
  await Promise.all(reads)
  return whole
}

/** One context's map of a whole export, neighbours of equal flags joined. */
const mapAll = async (client: NbdClient, context: string): Promise<StatusExtent[]> => {
  const map: StatusExtent[] = []
  for (let at = 0; at < client.size;) {
    const extents = (await client.blockStatus(at, client.size - at)).get(context) ?? []
    for (const { length, flags } of extents) {
      at += length
      const last = map.at(-1)
      if (last?.flags === flags) map[map.length - 1] = { length: last.length + length, flags }
      else map.push({ length, flags })
    }
  }
  return map
}

const digest = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

describe('reading from qemu-nbd', () => {
  test('a qcow2 disk with data, zero clusters and holes, its maps and its bitmap', async () => {
    await using folder = await tempFolder('varve-nbd')
    const disk = folder.join('a.qcow2')
    await run('qemu-img', ['create', '-q', '-f', 'qcow2', disk, '16M'])
    await qemuIo(disk, 'qcow2', 'write -P 0x11 0 1M', 'write -P 0x22 3M 64k', 'write -P 0x33 15M 1M')
    await run('qemu-img', ['bitmap', '--add', '-f', 'qcow2', disk, 'cp1'])
    await qemuIo(disk, 'qcow2', 'write -P 0x44 512k 64k', 'write -z 3M 64k', 'write -P 0x55 8M 128k')
    await run('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', disk, folder.join('a.raw')])
    await using server = await startQemuNbd(folder, '-r', '-f', 'qcow2', '-B', 'cp1', disk)
    await using client = await connect(server.socketPath, ALLOCATION)
    await using bitmap = await connect(server.socketPath, BITMAP)

    expect(client.size).toBe(16 * MIB)
    expect(client.flags).toMatchObject({ readOnly: true, multiConn: true, canDontFragment: true })
    const expected = await readFile(folder.join('a.raw'))
    for (const pieceBytes of [65536, 12345, 5 * MIB]) {
      expect(digest(await readAll([client, bitmap], pieceBytes))).toBe(digest(expected))
    }

    const dirty = await mapAll(bitmap, BITMAP)
    expect(dirty).toEqual([
      { length: MIB / 2, flags: 0 },
      { length: 65536, flags: 1 },
      { length: 2.5 * MIB - 65536, flags: 0 },
      { length: 65536, flags: 1 },
      { length: 5 * MIB - 65536, flags: 0 },
      { length: 131072, flags: 1 },
      { length: 8 * MIB - 131072, flags: 0 },
    ])
    const zeroes = (await mapAll(client, ALLOCATION)).reduce(
      ({ at, bytes }, { length, flags }) => {
        if ((flags & 2) !== 0) expect(expected.subarray(at, at + length).every((byte) => byte === 0)).toBe(true)
        return { at: at + length, bytes: bytes + ((flags & 2) === 0 ? 0 : length) }
      },
      { at: 0, bytes: 0 },
    )
    expect(zeroes).toEqual({ at: 16 * MIB, bytes: 14 * MIB - 131072 })
  })

  test('two contexts on one connection', async () => {
    await using folder = await tempFolder('varve-nbd')
    const disk = folder.join('a.qcow2')
    await run('qemu-img', ['create', '-q', '-f', 'qcow2', disk, '4M'])
    await run('qemu-img', ['bitmap', '--add', '-f', 'qcow2', disk, 'cp1'])
    await qemuIo(disk, 'qcow2', 'write -P 0x11 1M 64k')
    await using server = await startQemuNbd(folder, '-r', '-f', 'qcow2', '-B', 'cp1', disk)
    await using client = await connect(server.socketPath, ALLOCATION, BITMAP)
    expect([...(await client.blockStatus(0, 4 * MIB)).keys()].toSorted()).toEqual([ALLOCATION, BITMAP])
    expect((await mapAll(client, BITMAP)).map(({ flags }) => flags)).toEqual([0, 1, 0])
  })

  test('more requests than fit at once, over four connections and in a worker thread', async () => {
    await using folder = await tempFolder('varve-nbd')
    const disk = folder.join('a.raw')
    const bytes = randomBytes(24 * MIB)
    await writeFile(disk, bytes)
    await using server = await startQemuNbd(folder, '-r', '-f', 'raw', disk)
    const clients = await Promise.all(Array.from({ length: 4 }, () => connect(server.socketPath)))
    expect(digest(await readAll(clients, 65536))).toBe(digest(bytes))
    for (const client of clients) await client.close()

    const source = `
      const { parentPort, workerData } = require('node:worker_threads')
      import(workerData.module).then(async ({ NbdClient }) => {
        const client = await NbdClient.connect({ socketPath: workerData.socketPath, exportName: 'disk', contexts: [] })
        const target = new Uint8Array(new SharedArrayBuffer(client.size))
        await client.readInto(0, target)
        await client.close()
        parentPort.postMessage(target)
      })`
    const module = new URL('../../../agent/nbd/client.ts', import.meta.url).href
    const worker = new Worker(source, { eval: true, workerData: { module, socketPath: server.socketPath } })
    const read = await new Promise<Uint8Array>((resolve, reject) => {
      worker.once('message', resolve)
      worker.once('error', reject)
    })
    expect(digest(read)).toBe(digest(bytes))
    await worker.terminate()
  })

  test('a read longer than the server takes at once', async () => {
    await using folder = await tempFolder('varve-nbd')
    const disk = folder.join('a.raw')
    await writeFile(disk, 'start')
    await truncate(disk, 40 * MIB)
    await using server = await startQemuNbd(folder, '-r', '-f', 'raw', disk)
    await using client = await connect(server.socketPath)
    expect(client.blockSize.maximum).toBe(32 * MIB)
    const target = Buffer.alloc(40 * MIB, 0xee)
    await client.readInto(0, target)
    expect(target.equals(await readFile(disk))).toBe(true)
  })

  test('a failing sector fails its request only', async () => {
    await using folder = await tempFolder('varve-nbd')
    const disk = folder.join('a.raw')
    await writeFile(disk, Buffer.alloc(4 * MIB, 7))
    const options = [
      'driver=raw,file.driver=blkdebug,file.image.driver=file',
      `file.image.filename=${disk}`,
      'file.inject-error.0.event=none,file.inject-error.0.iotype=read,file.inject-error.0.sector=2048',
    ]
    await using server = await startQemuNbd(folder, '-r', '--image-opts', options.join(','))
    await using client = await connect(server.socketPath)
    const target = Buffer.alloc(65536)
    const reads = [0, MIB, 2 * MIB].map((offset) => client.readInto(offset, Buffer.from(target.buffer)))
    const [first, second, third] = await Promise.allSettled(reads)
    expect([first?.status, third?.status]).toEqual(['fulfilled', 'fulfilled'])
    expect(second).toMatchObject({ reason: { code: 'NBD_ERROR', details: { errno: 'EIO', offset: MIB } } })
    await client.readInto(3 * MIB, target)
    expect(target.every((byte) => byte === 7)).toBe(true)
  })

  test('a server that is killed fails what waits', async () => {
    await using folder = await tempFolder('varve-nbd')
    const disk = folder.join('a.raw')
    await writeFile(disk, '')
    await truncate(disk, 64 * MIB)
    await using server = await startQemuNbd(folder, '-r', '-f', 'raw', disk)
    await using client = await connect(server.socketPath)
    const reads = Promise.allSettled(
      Array.from({ length: 64 }, (_, index) => client.readInto(index * MIB, Buffer.alloc(MIB))),
    )
    await server.kill()
    for (const outcome of await reads) {
      if (outcome.status === 'rejected') expect(outcome.reason).toMatchObject({ code: 'NBD_ERROR' })
    }
    await expect(client.readInto(0, Buffer.alloc(512))).rejects.toMatchObject({ code: 'NBD_ERROR' })
  })

  test('an export or a context that is not there', async () => {
    await using folder = await tempFolder('varve-nbd')
    const disk = folder.join('a.raw')
    await writeFile(disk, Buffer.alloc(MIB))
    await using server = await startQemuNbd(folder, '-r', '-f', 'raw', disk)
    const { socketPath } = server
    await expect(NbdClient.connect({ socketPath, exportName: 'other', contexts: [] })).rejects.toMatchObject({
      code: 'NBD_ERROR',
      details: { reply: 'unknown-export' },
    })
    await expect(connect(socketPath, BITMAP)).rejects.toMatchObject({
      code: 'NBD_ERROR',
      details: { context: BITMAP },
    })
  })
})

describe('writing to qemu-nbd', () => {
  test('writes, zeroes and a flush are in the image, and read back', async () => {
    await using folder = await tempFolder('varve-nbd')
    const disk = folder.join('a.raw')
    const model = randomBytes(8 * MIB)
    await writeFile(disk, model)
    await using server = await startQemuNbd(folder, '-f', 'raw', '--discard=unmap', disk)
    await using client = await connect(server.socketPath, ALLOCATION)
    expect(client.flags).toMatchObject({ readOnly: false, canFlush: true, canWriteZeroes: true })
    const writes = Array.from({ length: 40 }, (_, index) => ({ at: index * 100_000, bytes: randomBytes(65536) }))
    await Promise.all(
      writes.map(({ at, bytes }) => {
        bytes.copy(model, at)
        return client.write(at, bytes)
      }),
    )
    await client.writeZeroes(5 * MIB, MIB, { mayTrim: true })
    await client.writeZeroes(7 * MIB, 65536, { mayTrim: false })
    model.fill(0, 5 * MIB, 6 * MIB).fill(0, 7 * MIB, 7 * MIB + 65536)
    await client.flush()
    expect(digest(await readFile(disk))).toBe(digest(model))
    expect(digest(await readAll([client], MIB))).toBe(digest(model))
  })

  test('a read-only export takes nothing', async () => {
    await using folder = await tempFolder('varve-nbd')
    const disk = folder.join('a.raw')
    await writeFile(disk, Buffer.alloc(MIB))
    await using server = await startQemuNbd(folder, '-r', '-f', 'raw', disk)
    await using client = await connect(server.socketPath)
    const refused = { code: 'NBD_ERROR', details: { errno: 'EPERM' } }
    await expect(client.write(0, Buffer.alloc(512))).rejects.toMatchObject(refused)
    await expect(client.writeZeroes(0, 512, { mayTrim: true })).rejects.toMatchObject(refused)
  })
})

describe('what is asked for', () => {
  test('must lie inside the export', async () => {
    await using server = await startScriptedServer((peer) => peer.shakeHands(MIB, [ALLOCATION]))
    await using client = await connect(server.socketPath, ALLOCATION)
    const outside = { code: 'NBD_ERROR', details: { errno: 'EINVAL' } }
    for (const offset of [-1, MIB, MIB - 511, 0.5, Number.NaN, 2 ** 53]) {
      await expect(client.readInto(offset, Buffer.alloc(512))).rejects.toMatchObject(outside)
      await expect(client.write(offset, Buffer.alloc(512))).rejects.toMatchObject(outside)
      await expect(client.blockStatus(offset, 512)).rejects.toMatchObject(outside)
    }
    await expect(client.blockStatus(0, 0)).rejects.toMatchObject(outside)
    await client.readInto(MIB, Buffer.alloc(0))
  })

  test('no map without a context', async () => {
    await using server = await startScriptedServer((peer) => peer.shakeHands())
    await using client = await connect(server.socketPath)
    await expect(client.blockStatus(0, 512)).rejects.toMatchObject({ code: 'NBD_ERROR' })
  })

  test('at most sixteen requests are in flight', async () => {
    let early = 0
    await using server = await startScriptedServer(async (peer) => {
      await peer.shakeHands()
      const cookies: bigint[] = []
      for (let index = 0; index < 16; index += 1) cookies.push((await peer.takeRequest()).cookie)
      // a client that sends more has sent it long before this
      await new Promise((resolve) => void setTimeout(resolve, 100))
      early = peer.waitingBytes
      for (const cookie of cookies.toReversed()) peer.send(simpleReply(cookie))
      for (;;) peer.send(simpleReply((await peer.takeRequest()).cookie))
    })
    await using client = await connect(server.socketPath)
    await Promise.all(Array.from({ length: 40 }, () => client.flush()))
    expect(early).toBe(0)
  })

  test('zeroes are allowed to free space, or not, and long ranges are cut', async () => {
    const heard: (readonly [flags: number, offset: number, length: number])[] = []
    await using server = await startScriptedServer(async (peer) => {
      await peer.shakeHands(2 ** 33)
      for (;;) {
        const { cookie, flags, offset, length } = await peer.takeRequest()
        heard.push([flags, offset, length])
        peer.send(simpleReply(cookie))
      }
    })
    await using client = await connect(server.socketPath)
    await client.writeZeroes(512, 512, { mayTrim: true })
    await client.writeZeroes(1024, 2 ** 32, { mayTrim: false })
    expect(heard).toEqual([
      [0, 512, 512],
      [2, 1024, 2 ** 31],
      [2, 1024 + 2 ** 31, 2 ** 31],
    ])
  })

  test('a server that cannot send a read whole is asked again, and not so from then on', async () => {
    const flags: number[] = []
    const canDontFragment = 1 | (1 << 7)
    await using server = await startScriptedServer(async (peer) => {
      await peer.shakeHands(MIB, [], canDontFragment)
      for (;;) {
        const request = await peer.takeRequest()
        flags.push(request.flags)
        if (request.flags === 0) peer.send(chunk(request.cookie, 1, dataPayload(request.offset, Buffer.alloc(4096, 5))))
        else peer.send(chunk(request.cookie, 0x8001, errorPayload(75)))
      }
    })
    await using client = await connect(server.socketPath)
    const target = Buffer.alloc(4096)
    await client.readInto(0, target)
    await client.readInto(8192, target)
    expect(target).toEqual(Buffer.alloc(4096, 5))
    expect(flags).toEqual([4, 0, 0])
  })
})
