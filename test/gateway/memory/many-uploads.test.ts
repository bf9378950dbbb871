// Many uploads at once on a gateway with the least memory: all end, a restore of the same tenant comes between, and who
// leaves while waiting leaves nothing.
import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { keyedHash } from '../../../protocol/host/keyed-hash.ts'
import { CHUNK_BYTES_DEFAULT } from '../../../protocol/chunk.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { DOWN, RUN, UP, type Params } from '../../../protocol/methods.ts'
import type { Peer } from '../../../protocol/peer.ts'
import type { AttackerAgent, Stage } from '../../attack/scenario.ts'
import { AttackedGateway } from '../../attack/stage.ts'
import { chunksMessage, rawChunk } from '../../protocol/wire-chunks.ts'
import { tempFolder, type TempFolder } from '../../support/temp.ts'
import { codeOf } from '../auth/test-authority.ts'
import { BEGUN, fullDisk } from '../catalog.ts'

const CHUNKS = 32
const MESSAGE_CHUNKS = 8
const SIZE = CHUNKS * CHUNK_BYTES_DEFAULT

type Order = Params<'agent.backup'>

let folder: TempFolder
let gateway: AttackedGateway

beforeAll(async () => {
  folder = await tempFolder()
  gateway = await AttackedGateway.start(folder.path, { heapMb: 256, options: ['--memory', '64M'] })
})

afterAll(async () => {
  await gateway[Symbol.asyncDispose]()
  await folder[Symbol.asyncDispose]()
})

const diskName = (index: number): string => `disk${index}`

/** A machine of a new agent, whose backup of so many disks has begun. */
const begun = async (stage: Stage, machine: string, disks: number): Promise<{ agent: AttackerAgent; order: Order }> => {
  const { promise, resolve } = Promise.withResolvers<Order>()
  const agent = await stage.agent([machine], {
    'agent.backup': async (order) => {
      resolve(order)
      return {}
    },
    'agent.cancel': async () => ({}),
  })
  await agent.peer.call('backup.start', { machine, full: true })
  const order = await promise
  const all = Array.from({ length: disks }, (_, index) => fullDisk(diskName(index), SIZE, 'requested'))
  await agent.peer.call('backup.begin', { ...BEGUN, timeMs: Date.now(), job: order.job, disks: all })
  return { agent, order }
}

const upload = async (peer: Peer, { job, idKey }: Order, disk: string): Promise<void> => {
  const call = peer.open('image.upload', { job, disk })
  const plains = Array.from({ length: CHUNKS }, () => randomBytes(CHUNK_BYTES_DEFAULT))
  const ids = plains.map((plain) => keyedHash(idKey, plain))
  const delivered = (async () => {
    let at = 0
    for await (const message of call.messages) {
      if (message[0] !== DOWN.answers) continue
      const part = ids.slice(at, at + MESSAGE_CHUNKS)
      await call.send(chunksMessage(UP.chunks, ...part.map((id, index) => rawChunk(id, plains[at + index]!))))
      at += MESSAGE_CHUNKS
      if (at >= CHUNKS) call.end()
    }
  })()
  delivered.catch(() => {})
  for (let at = 0; at < CHUNKS; at += MESSAGE_CHUNKS)
    await call.send([UP.runs, [[RUN.ids, Buffer.concat(ids.slice(at, at + MESSAGE_CHUNKS))]]])
  await call.result
}

/** A backup of so many disks, all at once. */
const backUp = async (stage: Stage, machine: string, disks: number): Promise<string> => {
  const { agent, order } = await begun(stage, machine, disks)
  await Promise.all(Array.from({ length: disks }, (_, index) => upload(agent.peer, order, diskName(index))))
  await agent.peer.call('backup.commit', { job: order.job, bytesRead: disks * SIZE })
  return order.job
}

const restore = async (peer: Peer, point: string): Promise<number> => {
  const call = peer.open('image.download', { point, disk: diskName(0), position: 0, skipDamaged: false })
  let messages = 0
  for await (const _ of call.messages) messages++
  await call.result
  return messages
}

test('100 disks of one agent and 40 of another tenant end; restores of the first tenant go on meanwhile', async () => {
  await using one = await gateway.stage('one', () => {})
  await using other = await gateway.stage('other', () => {})
  const point = await backUp(one, 'small', 1)
  const person = await one.person('operator')
  let over = false
  const backups = Promise.all([backUp(one, 'large', 100), backUp(other, 'large', 40)]).finally(() => (over = true))
  let meanwhile = 0
  while (!over) {
    expect(await restore(person, point)).toBeGreaterThan(0)
    if (!over) meanwhile++
  }
  await backups
  expect(meanwhile).toBeGreaterThan(1)
})

test('uploads that wait for memory end with their job or their session, and what they waited for is free', async () => {
  await using stage = await gateway.stage('leaving', () => {})
  const uploads = ({ agent, order }: { agent: AttackerAgent; order: Order }): Promise<string>[] =>
    Array.from({ length: 60 }, (_, index) =>
      codeOf(agent.peer.open('image.upload', { job: order.job, disk: diskName(index) }).result),
    )
  const one = await begun(stage, 'm1', 60)
  const cancelled = uploads(one)
  await (await stage.person('operator')).call('jobs.cancel', { job: one.order.job })
  expect(new Set(await Promise.all(cancelled))).toEqual(new Set(['JOB_ENDED']))
  const left = await begun(stage, 'm2', 60)
  const waiting = uploads(left)
  await left.agent.peer.call('machines.list', {})
  left.agent.peer.close(new VarveError('CONNECTION_LOST', 'gone'))
  expect(new Set(await Promise.all(waiting))).toEqual(new Set(['CONNECTION_LOST']))
  await backUp(stage, 'm3', 40)
})
