// Exports of restore points over NBD: what NBD's own programs read of them, and against a model; breaks, kills, damage and
// hostile clients.
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { BUNDLE_BYTES_MAX } from '../../protocol/chunk.ts'
import { NbdClient } from '../../agent/nbd/client.ts'
import { CLIENTS_MAX } from '../../agent/export/server.ts'
import { Damager } from '../support/damage.ts'
import { Dice } from '../support/model-dice.ts'
import { KIB, MIB } from '../support/model-machine.ts'
import { run } from '../support/run.ts'
import { testSeeds } from '../support/seed.ts'
import type { Host } from '../support/stand-host.ts'
import type { Program } from '../support/stand-program.ts'
import { Stand } from '../support/stand.ts'
import { eventually } from '../support/temp.ts'

const execute = promisify(execFile)

const SIZE_BYTES = 40 * MIB + 1536
const CHUNK_BYTES = 64 * KIB

const dice = new Dice(80)
const CONTENT = Buffer.concat([
  dice.bytes(9 * MIB),
  Buffer.alloc(6 * MIB),
  Buffer.alloc(16 * MIB, dice.bytes(KIB)),
  dice.bytes(9 * MIB + 1536),
])
/** Where the second point differs: a chunk that was data, one that was zero, and one that became zero. */
const WRITES = [
  [3 * MIB + 4096, dice.bytes(4096)],
  [10 * MIB, dice.bytes(CHUNK_BYTES)],
  [20 * MIB, Buffer.alloc(CHUNK_BYTES)],
] as const

let stand: Stand
let host: Host
let first: string
let second: string
const after = Buffer.from(CONTENT)

beforeAll(async () => {
  stand = await Stand.start()
  host = await stand.addHost()
  const machine = await host.addMachine('db1', [
    { id: 'vda', format: 'qcow2', size: SIZE_BYTES, content: CONTENT },
    { id: 'vdb', format: 'raw', size: 64 * KIB },
  ])
  await host.start()
  first = (await host.backup('db1')).point
  for (const [offset, bytes] of WRITES) {
    await machine.write('vda', offset, bytes)
    after.set(bytes, offset)
  }
  second = (await host.backup('db1')).point
})

afterAll(async () => {
  await stand[Symbol.asyncDispose]()
})

/** An export until it is disposed of, which serves already. */
class Served implements AsyncDisposable {
  readonly program: Program
  readonly socket: string

  private constructor(program: Program, socket: string) {
    this.program = program
    this.socket = socket
  }

  static async start(point: string, name: string, ...flags: readonly string[]): Promise<Served> {
    const socket = stand.folder.join(name)
    const program = host.command('export', point, '--socket', socket, ...flags)
    await program.says(/nbd\+unix|"exported"/u)
    return new Served(program, socket)
  }

  uri(disk = 'vda'): string {
    return `nbd+unix:///${disk}?socket=${this.socket}`
  }

  client(disk = 'vda', contexts: readonly string[] = ['base:allocation']): Promise<NbdClient> {
    return NbdClient.connect({ socketPath: this.socket, exportName: disk, contexts })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.program[Symbol.asyncDispose]()
  }
}

const readOf = async (client: NbdClient, offset: number, length: number): Promise<Buffer> => {
  const bytes = Buffer.alloc(length, 0xaa)
  await client.readInto(offset, bytes)
  return bytes
}

test('nbdinfo, nbdcopy, qemu-img and qemu-io see each disk under its name, exact and read-only', async () => {
  await using served = await Served.start(first, 'whole.sock')
  const { exports } = JSON.parse(await run('nbdinfo', ['--json', '--list', served.uri('')])) as {
    exports: Record<string, unknown>[]
  }
  expect(exports).toMatchObject([
    { 'export-name': 'vda', 'export-size': SIZE_BYTES, is_read_only: true, can_multi_conn: true, can_df: true },
    { 'export-name': 'vdb', 'export-size': 64 * KIB },
  ])
  expect(exports[0]).toMatchObject({
    block_size_minimum: 1,
    block_size_preferred: CHUNK_BYTES,
    block_size_maximum: 32 * MIB,
  })
  const map = JSON.parse(await run('nbdinfo', ['--json', '--map', served.uri()])) as {
    offset: number
    length: number
    type: number
  }[]
  const zeroes = map.filter(({ type }) => type === 3).map(({ offset, length }) => ({ offset, length }))
  expect(zeroes).toEqual([{ offset: 9 * MIB, length: 6 * MIB }])
  const restored = stand.folder.join('restored.raw')
  await host.done('restore', first, '--disk', 'vda', '--to', restored)
  const copied = stand.folder.join('copied.raw')
  await run('nbdcopy', [served.uri(), copied])
  expect((await readFile(copied)).equals(CONTENT)).toBe(true)
  await run('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', served.uri(), restored])
  const converted = stand.folder.join('converted.qcow2')
  await run('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', served.uri(), converted])
  await run('qemu-img', ['compare', '-f', 'qcow2', '-F', 'raw', converted, restored])
  // the empty name is the first disk
  await run('qemu-io', ['-r', '-f', 'raw', '-c', `read -P 0 ${9 * MIB} ${6 * MIB}`, served.uri('')])
  await expect(execute('qemu-io', ['-f', 'raw', '-c', 'write 0 4k', served.uri()])).rejects.toThrow(
    /permission denied|read-only/iu,
  )
  const ended = await served.program.end('SIGTERM')
  expect(ended).toMatchObject({ code: 0, stderr: '' })
  expect(existsSync(served.socket)).toBe(false)
})

test('what differs from another point is a context, and a disk that it did not have differs where it has data', async () => {
  await using served = await Served.start(second, 'changed.sock', '--changed-since', first.slice(0, 8))
  const context = `varve:changed:${first}`
  await using client = await served.client('vda', ['base:allocation', context])
  const status = await client.blockStatus(0, SIZE_BYTES)
  const places = (name: string, wanted: (flags: number) => boolean): [number, number][] => {
    let at = 0
    return status.get(name)!.flatMap(({ length, flags }): [number, number][] => {
      at += length
      return wanted(flags) ? [[at - length, length]] : []
    })
  }
  expect(places(context, (flags) => flags === 1)).toEqual([
    [3 * MIB, CHUNK_BYTES],
    [10 * MIB, CHUNK_BYTES],
    [20 * MIB, CHUNK_BYTES],
  ])
  expect(places('base:allocation', (flags) => flags === 3)).toEqual([
    [9 * MIB, MIB],
    [10 * MIB + CHUNK_BYTES, 5 * MIB - CHUNK_BYTES],
    [20 * MIB, CHUNK_BYTES],
  ])
  // what NBD's own tools make of it
  const map = JSON.parse(await run('nbdinfo', ['--json', `--map=${context}`, served.uri()])) as { type: number }[]
  expect(map.filter(({ type }) => type === 1)).toHaveLength(3)
})

test('random reads of several clients at once agree with a model, from memory, from disk and from the gateway', async () => {
  const folder = stand.folder.join('cache')
  await mkdir(folder)
  const flags = ['--cache-memory', '8M', '--cache-disk', folder, '--cache-disk-size', '16M', '--disk', 'vda']
  await using served = await Served.start(second, 'random.sock', ...flags)
  const [seed = 0] = testSeeds(1)
  const clients = await Promise.all(Array.from({ length: 4 }, () => served.client()))
  await Promise.all(
    clients.map(async (client, index) => {
      const own = new Dice(seed + index)
      let at = 0
      for (let read = 0; read < 150; read++) {
        const length = 1 + own.below(own.below(8) === 0 ? 5 * MIB : 100 * KIB)
        // half of them go on where the one before ended
        const offset = own.below(2) === 0 ? own.below(SIZE_BYTES - length) : Math.min(at, SIZE_BYTES - length)
        at = offset + length
        const same = (await readOf(client, offset, length)).equals(after.subarray(offset, offset + length))
        expect({ seed, index, read, offset, length, same }).toMatchObject({ same: true })
      }
    }),
  )
  for (const client of clients) await client[Symbol.asyncDispose]()
  // the file of the cache has no name
  expect(await readdir(folder)).toEqual([])
})

test('readers wait while the gateway is away and go on when it is back; past the limit reads fail, later ones do not', async () => {
  await using served = await Served.start(first, 'away.sock')
  await using brief = await Served.start(first, 'brief.sock', '--reconnect-for', '1s', '--json')
  await using client = await served.client()
  await using other = await brief.client()
  expect((await readOf(client, 0, MIB)).equals(CONTENT.subarray(0, MIB))).toBe(true)
  await stand.endGateway('SIGKILL')
  const waiting = readOf(client, 32 * MIB, 4 * MIB)
  await expect(readOf(other, 32 * MIB, MIB)).rejects.toMatchObject({ code: 'NBD_ERROR', details: { errno: 'EIO' } })
  // what was fetched before is still there
  expect((await readOf(client, 4096, 4096)).equals(CONTENT.subarray(4096, 8192))).toBe(true)
  await stand.startGateway()
  expect((await waiting).equals(CONTENT.subarray(32 * MIB, 36 * MIB))).toBe(true)
  await eventually(async () => {
    const bytes = await readOf(other, 32 * MIB, MIB).catch(() => null)
    return bytes?.equals(CONTENT.subarray(32 * MIB, 33 * MIB))
  })
  const { code, stdout } = await brief.program.end('SIGINT')
  expect(code).toBe(0)
  const { events, failedReads } = JSON.parse(stdout) as { events: { event: string }[]; failedReads: number }
  expect(failedReads).toBeGreaterThan(0)
  expect(events.map(({ event }) => event)).toContain('read-failed')
})

test('a dead export’s socket is taken over, a live one’s is refused, and so is what is no socket', async () => {
  await using live = await Served.start(first, 'taken.sock')
  const refused = await host.run('export', first, '--socket', live.socket)
  expect(refused).toMatchObject({ code: 5, stderr: expect.stringContaining('EXISTS') })
  await live.program.end('SIGKILL')
  expect(existsSync(live.socket)).toBe(true)
  await using next = await Served.start(first, 'taken.sock')
  await using client = await next.client('vdb')
  expect(await readOf(client, 0, 64 * KIB)).toEqual(Buffer.alloc(64 * KIB))
  await next.program.end('SIGINT')
  expect(existsSync(next.socket)).toBe(false)
  const file = stand.folder.join('file')
  await writeFile(file, 'precious')
  expect(await host.run('export', first, '--socket', file)).toMatchObject({ code: 5 })
  expect(await readFile(file, 'utf8')).toBe('precious')
})

test('hostile clients are bounded and end, and others are served meanwhile', async () => {
  await using served = await Served.start(first, 'hostile.sock')
  await using client = await served.client()
  const crowd = Array.from({ length: 200 }, () => connect(served.socket))
  for (const socket of crowd) socket.on('error', () => {})
  const gone = (socket: Socket): boolean => socket.destroyed || socket.readableEnded
  for (const socket of crowd) socket.resume()
  await eventually(() => crowd.filter((socket) => !gone(socket)).length < CLIENTS_MAX)
  expect((await readOf(client, 0, 4096)).equals(CONTENT.subarray(0, 4096))).toBe(true)
  for (const socket of crowd) socket.destroy()
  // one that asks for everything and takes nothing
  const greedy = connect(served.socket)
  greedy.on('error', () => {})
  const request = Buffer.alloc(28)
  request.writeUInt32BE(0x25609513, 0)
  request.writeUInt32BE(32 * MIB, 24)
  greedy.write(
    Buffer.concat([Buffer.from([0, 0, 0, 3]), Buffer.from('IHAVEOPT'), Buffer.from([0, 0, 0, 1, 0, 0, 0, 0])]),
  )
  for (let asked = 0; asked < 2000; asked++) greedy.write(request)
  for (const words of ['GET / HTTP/1.1\r\n\r\n'.repeat(100), '\0\0\0\x03garbage garbage garbage']) {
    const socket = connect(served.socket)
    socket.on('error', () => {})
    socket.resume()
    socket.write(words)
    await eventually(() => gone(socket))
  }
  const { rss } = await memoryOf(served.program.pid)
  expect((await readOf(client, 16 * MIB, 8 * MIB)).equals(CONTENT.subarray(16 * MIB, 24 * MIB))).toBe(true)
  expect(rss).toBeLessThan(700 * MIB)
  greedy.destroy()
})

const memoryOf = async (pid: number): Promise<{ rss: number }> => {
  const text = await readFile(`/proc/${pid}/status`, 'utf8')
  return { rss: Number(/VmRSS:\s+(\d+)/u.exec(text)?.[1]) * KIB }
}

test('a damaged chunk fails the reads that touch it or are stored with it, with its name, and no others', async () => {
  const damager = new Damager(stand.dataFolder)
  await damager.flip(damager.chunkId(CONTENT.subarray(2 * MIB, 2 * MIB + CHUNK_BYTES)))
  await using served = await Served.start(first, 'damaged.sock')
  await using client = await served.client()
  await expect(readOf(client, 2 * MIB + 10, 10)).rejects.toMatchObject({ details: { errno: 'EIO' } })
  await expect(readOf(client, MIB, 4 * MIB)).rejects.toMatchObject({ details: { errno: 'EIO' } })
  expect((await readOf(client, 0, 2 * MIB)).equals(CONTENT.subarray(0, 2 * MIB))).toBe(true)
  const behind = 2 * MIB + BUNDLE_BYTES_MAX
  expect((await readOf(client, behind, MIB)).equals(CONTENT.subarray(behind, behind + MIB))).toBe(true)
  await eventually(() => served.program.stderr.includes('DATA_DAMAGED'))
})
