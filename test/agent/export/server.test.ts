// The server by single bytes: every option and command, in every form of reply, and what nobody may ask for.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { ExportServer } from '../../../agent/export/server.ts'
import { MIB } from '../../support/model-machine.ts'
import { eventually, tempFolder, type TempFolder } from '../../support/temp.ts'
import { CHUNK_BYTES, diskOf } from './memory-tree.ts'
import { contexts, named, RawClient } from './raw-client.ts'

const SIZE_BYTES = 40 * CHUNK_BYTES + 512
const BYTES = Buffer.alloc(SIZE_BYTES, 7)
BYTES.fill(0, 8 * CHUNK_BYTES, 12 * CHUNK_BYTES)
const BEFORE = Buffer.from(BYTES)
BEFORE[0] = 1

const BAD = 30 * CHUNK_BYTES

const OPTION = {
  exportName: 1,
  abort: 2,
  list: 3,
  startTls: 5,
  info: 6,
  go: 7,
  structured: 8,
  listMeta: 9,
  setMeta: 10,
  extended: 11,
}
const ACK = 1
const UNSUPPORTED = 2 ** 31 + 1
const INVALID = 2 ** 31 + 3
const UNKNOWN = 2 ** 31 + 6
const TOO_BIG = 2 ** 31 + 9
const COMMAND = { read: 0, write: 1, disconnect: 2, flush: 3, trim: 4, cache: 5, writeZeroes: 6, status: 7 }
const EPERM = 1
const EIO = 5
const EINVAL = 22

let folder: TempFolder
let server: ExportServer
let socket = ''
const failed: number[] = []

beforeAll(async () => {
  folder = await tempFolder()
  socket = folder.join('s')
  server = await ExportServer.open({
    listen: { socket },
    exports: [diskOf(BYTES, { before: BEFORE, fails: (offset) => offset >= BAD && offset < BAD + CHUNK_BYTES })],
    onFailure: ({ offset }) => void failed.push(offset),
    onServed: () => {},
    onClients: () => {},
  })
})

afterAll(async () => {
  await server[Symbol.asyncDispose]()
  await folder[Symbol.asyncDispose]()
})

const typesOf = (replies: readonly { type: number }[]): number[] => replies.map(({ type }) => type)

test('options are answered, refused or skipped, and the client may go on', async () => {
  using client = await RawClient.open(socket)
  expect(typesOf(await client.option(OPTION.list))).toEqual([2, ACK])
  expect(typesOf(await client.option(OPTION.list, Buffer.alloc(3)))).toEqual([INVALID])
  expect(typesOf(await client.option(OPTION.startTls))).toEqual([UNSUPPORTED])
  expect(typesOf(await client.option(4711, Buffer.alloc(100)))).toEqual([UNSUPPORTED])
  expect(typesOf(await client.option(OPTION.go, Buffer.alloc(3 * MIB)))).toEqual([TOO_BIG])
  expect(typesOf(await client.option(OPTION.info, named('vdz')))).toEqual([UNKNOWN])
  expect(typesOf(await client.option(OPTION.info, Buffer.from([0, 0, 255, 255, 1])))).toEqual([INVALID])
  expect(typesOf(await client.option(OPTION.info, named('', [1, 2, 3])))).toEqual([3, 3, 3, 3, ACK])
  expect(typesOf(await client.option(OPTION.setMeta, contexts('vda', ['base:allocation'])))).toEqual([INVALID])
  expect(typesOf(await client.option(OPTION.structured, Buffer.alloc(1)))).toEqual([INVALID])
  expect(typesOf(await client.option(OPTION.structured))).toEqual([ACK])
  expect(typesOf(await client.option(OPTION.structured))).toEqual([INVALID])
  const offered = await client.option(OPTION.listMeta, contexts('vda', []))
  expect(offered.slice(0, -1).map(({ data }) => data.subarray(4).toString())).toEqual([
    'base:allocation',
    'varve:changed:p1',
  ])
  expect(typesOf(await client.option(OPTION.listMeta, contexts('vda', ['varve:'])))).toEqual([4, ACK])
  expect(typesOf(await client.option(OPTION.setMeta, contexts('vda', ['base:', 'x:y'])))).toEqual([ACK])
  expect(typesOf(await client.option(OPTION.abort))).toEqual([ACK])
  await client.ended()
})

test('a client without structured replies reads, and gets errors by their numbers', async () => {
  using client = await RawClient.open(socket, 1)
  client.socket.write(
    Buffer.concat([Buffer.from('IHAVEOPT'), Buffer.from([0, 0, 0, 1, 0, 0, 0, 3]), Buffer.from('vda')]),
  )
  const opened = await client.take(134)
  expect(Number(opened.readBigUInt64BE(0))).toBe(SIZE_BYTES)
  client.request(COMMAND.read, 100, 10 * CHUNK_BYTES)
  expect(await client.simple()).toBe(0)
  expect((await client.take(10 * CHUNK_BYTES)).equals(BYTES.subarray(100, 100 + 10 * CHUNK_BYTES))).toBe(true)
  for (const [command, offset, length, flags, errno] of [
    [COMMAND.read, SIZE_BYTES - 10, 11, 0, EINVAL],
    [COMMAND.read, 2 ** 60, 1, 0, EINVAL],
    [COMMAND.read, 0, 0, 0, EINVAL],
    [COMMAND.read, 0, 10, 1 << 2, EINVAL],
    [COMMAND.read, BAD - 10, 20, 0, EIO],
    [COMMAND.trim, 0, 512, 0, EPERM],
    [COMMAND.writeZeroes, 0, 512, 0, EPERM],
    [COMMAND.status, 0, 512, 0, EINVAL],
    [COMMAND.cache, 0, 512, 0, EINVAL],
    [4711, 0, 512, 0, EINVAL],
    [COMMAND.flush, 0, 0, 0, 0],
  ] as const) {
    client.request(command, offset, length, flags)
    expect([command, offset, await client.simple()]).toEqual([command, offset, errno])
  }
  client.request(COMMAND.write, 0, 3 * MIB)
  client.socket.write(Buffer.alloc(3 * MIB, 0xff))
  expect(await client.simple()).toBe(EPERM)
  client.request(COMMAND.read, 0, 16)
  expect(await client.simple()).toBe(0)
  expect(await client.take(16)).toEqual(BYTES.subarray(0, 16))
  client.request(COMMAND.disconnect, 0, 0)
  await client.ended()
  expect(failed).toContain(BAD - 10)
})

test('structured replies come in chunks, holes as such, whole where asked, and an error after what came before', async () => {
  using client = await RawClient.open(socket)
  await client.option(OPTION.structured)
  const set = await client.option(OPTION.setMeta, contexts('vda', ['varve:changed:p1', 'base:allocation']))
  const ids = set.slice(0, -1).map(({ data }) => data.readUInt32BE(0))
  expect(typesOf(await client.option(OPTION.go, named('vda')))).toEqual([3, 3, ACK])
  client.request(COMMAND.read, 7 * CHUNK_BYTES, 2 * CHUNK_BYTES)
  expect((await client.chunks()).map(({ type, payload }) => [type, payload.length])).toEqual([
    [1, 8 + CHUNK_BYTES],
    [2, 12],
  ])
  client.request(COMMAND.read, 7 * CHUNK_BYTES, 2 * CHUNK_BYTES, 1 << 2)
  const [whole, ...more] = await client.chunks()
  expect(more).toEqual([])
  expect(whole!.payload.subarray(8).equals(BYTES.subarray(7 * CHUNK_BYTES, 9 * CHUNK_BYTES))).toBe(true)
  client.request(COMMAND.read, BAD - CHUNK_BYTES, 2 * CHUNK_BYTES)
  const [data, error] = await client.chunks()
  expect([data!.type, error!.type, error!.payload.readUInt32BE(0)]).toEqual([1, 0x8001, EIO])
  client.request(COMMAND.write, 0, 8)
  client.socket.write(Buffer.alloc(8))
  expect((await client.chunks())[0]!.payload.readUInt32BE(0)).toBe(EPERM)
  client.request(COMMAND.status, 0, SIZE_BYTES)
  const maps = await client.chunks()
  const extentsOf = (id: number): number[][] => {
    const { payload } = maps.find((one) => one.payload.readUInt32BE(0) === id)!
    return Array.from({ length: (payload.length - 4) / 8 }, (_, index) => [
      payload.readUInt32BE(4 + 8 * index),
      payload.readUInt32BE(8 + 8 * index),
    ])
  }
  expect(ids).toEqual([0, 1])
  expect(extentsOf(0)).toEqual([
    [8 * CHUNK_BYTES, 0],
    [4 * CHUNK_BYTES, 3],
    [28 * CHUNK_BYTES + 512, 0],
  ])
  expect(extentsOf(1)).toEqual([
    [CHUNK_BYTES, 1],
    [39 * CHUNK_BYTES + 512, 0],
  ])
  client.request(COMMAND.status, 0, SIZE_BYTES, 1 << 3)
  for (const { payload } of await client.chunks()) expect(payload.length).toBe(12)
  // 33 MiB of bytes to skip are too many: nobody knows whether they ever come
  client.request(COMMAND.write, 0, 33 * MIB)
  await client.ended()
})

test('extended headers carry the same, with 64 bits for lengths', async () => {
  using client = await RawClient.open(socket)
  expect(typesOf(await client.option(OPTION.extended))).toEqual([ACK])
  expect(typesOf(await client.option(OPTION.structured))).toEqual([2 ** 31 + 10])
  await client.option(OPTION.setMeta, contexts('vda', ['base:allocation']))
  await client.option(OPTION.go, named('vda'))
  client.extendedRequest(COMMAND.read, 10, 100)
  const [data] = await client.chunks(true)
  expect([data!.type, data!.payload.subarray(8).equals(BYTES.subarray(10, 110))]).toEqual([1, true])
  client.extendedRequest(COMMAND.status, 0, SIZE_BYTES)
  const [map] = await client.chunks(true)
  expect([map!.type, map!.payload.readUInt32BE(4), map!.payload.length]).toEqual([6, 3, 8 + 3 * 16])
  expect(Number(map!.payload.readBigUInt64BE(8))).toBe(8 * CHUNK_BYTES)
  expect(Number(map!.payload.readBigUInt64BE(8 + 16 + 8))).toBe(3)
  client.extendedRequest(COMMAND.read, 0, 2 ** 40)
  expect((await client.chunks(true))[0]!.payload.readUInt32BE(0)).toBe(EINVAL)
  client.extendedRequest(COMMAND.write, 0, 2 ** 40, 1 << 5)
  await client.ended()
})

test('what is no NBD ends, half a request ends with its client, and the server goes on', async () => {
  for (const flags of [0, 0xffffffff]) {
    using client = await RawClient.open(socket, flags)
    await client.ended()
  }
  using garbage = await RawClient.open(socket)
  garbage.socket.write('garbage garbage garbage')
  await garbage.ended()
  using many = await RawClient.open(socket)
  for (let option = 0; option < 256; option++) await many.option(4711)
  await many.ended()
  using half = await RawClient.open(socket)
  await half.option(OPTION.go, named('vda'))
  half.socket.end(Buffer.from([0x25, 0x60, 0x95]))
  await half.ended()
  using wrong = await RawClient.open(socket)
  await wrong.option(OPTION.go, named('vda'))
  wrong.socket.write(Buffer.alloc(28, 1))
  await wrong.ended()
  using good = await RawClient.open(socket)
  await good.option(OPTION.go, named(''))
  good.request(COMMAND.read, 0, 8)
  await eventually(async () => (await good.simple()) === 0)
})
