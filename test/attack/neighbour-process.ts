// Another tenant's agent and person, in a process of their own: a listing now and then and small whole backups, each timed.
import { announced } from '../support/announced.ts'
import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { Identity } from '../../agent/identity.ts'
import { dial } from '../../protocol/host/dial.ts'
import { systemClock } from '../../protocol/host/clock.ts'
import { keyedHash } from '../../protocol/host/keyed-hash.ts'
import { CHUNK_BYTES_DEFAULT } from '../../protocol/chunk.ts'
import { asVarveError } from '../../protocol/errors.ts'
import { DOWN, RUN, UP, type Params } from '../../protocol/methods.ts'
import type { Peer } from '../../protocol/peer.ts'
import { BEGUN, fullDisk } from '../gateway/catalog.ts'
import { chunksMessage, rawChunk } from '../protocol/wire-chunks.ts'

/** Chunks of one backup, and of one of its messages. */
const BACKUP_CHUNKS = 128
const MESSAGE_CHUNKS = 32

/** Pause between two listings and between two backups, in milliseconds. */
const PAUSE_MS = 50

const MACHINE = 'db1'

export interface Timed {
  readonly kind: 'call' | 'backup'
  readonly ms: number
  /** The code of its failure. */
  readonly error: string | null
}

type Order = Params<'agent.backup'>

const backUp = async (peer: Peer, order: Order): Promise<void> => {
  const { job, idKey } = order
  const size = BACKUP_CHUNKS * CHUNK_BYTES_DEFAULT
  await peer.call('backup.begin', { ...BEGUN, timeMs: Date.now(), job, disks: [fullDisk('vda', size, 'requested')] })
  const upload = peer.open('image.upload', { job, disk: 'vda' })
  const plains = Array.from({ length: BACKUP_CHUNKS }, () => randomBytes(CHUNK_BYTES_DEFAULT))
  const ids = plains.map((plain) => keyedHash(idKey, plain))
  const delivered = (async () => {
    let at = 0
    for await (const message of upload.messages) {
      if (message[0] !== DOWN.answers) continue
      const chunks = ids.slice(at, at + MESSAGE_CHUNKS).map((id, index) => rawChunk(id, plains[at + index]!))
      at += MESSAGE_CHUNKS
      await upload.send(chunksMessage(UP.chunks, ...chunks))
      if (at >= BACKUP_CHUNKS) upload.end()
    }
  })()
  delivered.catch(() => {})
  for (let at = 0; at < BACKUP_CHUNKS; at += MESSAGE_CHUNKS)
    await upload.send([UP.runs, [[RUN.ids, Buffer.concat(ids.slice(at, at + MESSAGE_CHUNKS))]]])
  await upload.result
  await peer.call('backup.commit', { job, bytesRead: size })
  await peer.call('backup.released', { job })
}

const timed = async (kind: Timed['kind'], work: () => Promise<unknown>): Promise<void> => {
  const startMs = performance.now()
  let error: string | null = null
  try {
    await work()
  } catch (thrown) {
    error = asVarveError(thrown).code
  }
  process.send?.({ kind, ms: performance.now() - startMs, error } satisfies Timed)
}

const [gateway = '', state = ''] = process.argv.slice(2)
const identity = await Identity.load(state)
let order = Promise.withResolvers<Order>()
const handlers = {
  'agent.backup': async (next: Order) => {
    order.resolve(next)
    return {}
  },
}
const token = await identity.assertion(Date.now())
const session = { gateway, ca: null, token, program: 'neighbour', clock: systemClock, handlers }
const { peer } = await dial({ ...session, serving: true })
await peer.call('agent.inventory', { host: 'neighbour', machines: [announced(MACHINE)], jobs: [] })
void peer.closed.then(() => process.exit(1))
process.on('disconnect', () => process.exit())

const listings = async (): Promise<void> => {
  for (;;) {
    await timed('call', () => peer.call('machines.list', {}))
    await sleep(PAUSE_MS)
  }
}
const backups = async (): Promise<void> => {
  for (;;) {
    await timed('backup', async () => {
      order = Promise.withResolvers<Order>()
      await peer.call('backup.start', { machine: MACHINE, full: true })
      await backUp(peer, await order.promise)
    })
    await sleep(PAUSE_MS)
  }
}
await Promise.all([listings(), backups()])
