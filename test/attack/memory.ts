// Attacks on the gateway's memory: what one enrolled agent, one tenant's person or a stranger can have it hold.
import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { keyedHash } from '../../protocol/host/keyed-hash.ts'
import { CHUNK_BYTES_DEFAULT } from '../../protocol/chunk.ts'
import { asVarveError } from '../../protocol/errors.ts'
import { RUN, UP, type Params } from '../../protocol/methods.ts'
import type { OpenCall } from '../../protocol/peer.ts'
import { BEGUN, fullDisk } from '../gateway/catalog.ts'
import { chunksMessage, rawChunk } from '../protocol/wire-chunks.ts'
import { RawSocket } from './raw-socket.ts'
import type { AttackerAgent, Scenario, Stage } from './scenario.ts'

const DISKS = 40
const MESSAGES = 255
const IDS = 1024
const SIZE = MESSAGES * IDS * CHUNK_BYTES_DEFAULT

/** Sockets that have not said hello: what was tried from outside. */
const SOCKETS = 88

/** A little less than the largest message, in bytes. */
const ALMOST_A_MESSAGE = 8 * 1024 * 1024 - 1024

const diskName = (index: number): string => `disk${index}`

/** An agent with a backup of `disks` disks begun, of which nothing was uploaded. */
const begun = async (
  stage: Stage,
  disks: number,
  machine = 'm1',
): Promise<{ agent: AttackerAgent; order: Params<'agent.backup'> }> => {
  const { promise, resolve } = Promise.withResolvers<Params<'agent.backup'>>()
  const agent = await stage.agent([machine], {
    'agent.backup': async (order) => {
      resolve(order)
      return {}
    },
  })
  await agent.peer.call('backup.start', { machine, full: true })
  const order = await promise
  const all = Array.from({ length: disks }, (_, index) => fullDisk(diskName(index), SIZE, 'requested'))
  await agent.peer.call('backup.begin', { ...BEGUN, timeMs: Date.now(), job: order.job, disks: all })
  return { agent, order }
}

/** How calls ended so far, in a few words. */
class Endings {
  readonly #counts = new Map<string, number>()

  watch(call: { readonly result: Promise<unknown> }): void {
    call.result.then(
      () => this.add('answered'),
      (thrown: unknown) => this.add(asVarveError(thrown).code),
    )
  }

  add(what: string): void {
    this.#counts.set(what, (this.#counts.get(what) ?? 0) + 1)
  }

  toString(): string {
    const parts = [...this.#counts].map(([what, count]) => `${count} ${what}`)
    return parts.length === 0 ? 'nothing ended' : parts.join(', ')
  }
}

/** Waits until nothing more comes or the time is over. */
const untilOver = async (signal: AbortSignal): Promise<void> => {
  await sleep(2 ** 30, undefined, { signal }).catch(() => {})
}

const runsWithoutChunks: Scenario = {
  name: 'runs',
  title: `one agent, ${DISKS} disks, ${MESSAGES} messages of ${IDS} ids each, no chunks`,
  attackMs: 12_000,
  prepare: async (stage) => {
    const { agent, order } = await begun(stage, DISKS)
    return async (signal) => {
      let sent = 0
      const endings = new Endings()
      const uploads = Array.from({ length: DISKS }, (_, index) =>
        agent.peer.open('image.upload', { job: order.job, disk: diskName(index) }, { signal }),
      )
      const ask = async (upload: OpenCall<'image.upload'>): Promise<void> => {
        endings.watch(upload)
        for (let message = 0; message < MESSAGES; message++) {
          await upload.send([UP.runs, [[RUN.ids, randomBytes(IDS * 32)]]])
          sent++
        }
      }
      await Promise.race([Promise.allSettled(uploads.map(ask)), untilOver(signal)])
      await untilOver(signal)
      return `${sent} messages taken, ${String(endings)}`
    }
  },
}

const parkedUploads: Scenario = {
  name: 'parked',
  title: `${DISKS} second uploads of one disk, each window filled`,
  attackMs: 6000,
  prepare: async (stage) => {
    const { agent, order } = await begun(stage, 1)
    return async (signal) => {
      let sent = 0
      const open = (): OpenCall<'image.upload'> =>
        agent.peer.open('image.upload', { job: order.job, disk: diskName(0) }, { signal })
      open()
      const chunk = rawChunk(randomBytes(32), randomBytes(4 * 1024 * 1024 - 128))
      const fill = async (): Promise<void> => {
        const parked = open()
        for (;;) {
          await parked.send(chunksMessage(UP.chunks, chunk))
          sent++
        }
      }
      const filling = Array.from({ length: DISKS }, fill)
      await Promise.race([Promise.allSettled(filling), untilOver(signal)])
      return `${sent * 4} MiB taken`
    }
  },
}

const beforeHello: Scenario = {
  name: 'hello',
  title: `${SOCKETS} sockets without a token, almost 8 MiB of one message each`,
  attackMs: 6000,
  prepare: async (stage) => async (signal) => {
    const sockets = await Promise.all(Array.from({ length: SOCKETS }, () => RawSocket.open(stage.url)))
    const part = randomBytes(64 * 1024)
    const fill = async (socket: RawSocket): Promise<void> => {
      socket.header(ALMOST_A_MESSAGE + 1024)
      for (let bytes = 0; bytes < ALMOST_A_MESSAGE && !signal.aborted; bytes += part.length) await socket.write(part)
    }
    await Promise.race([Promise.allSettled(sockets.map(fill)), untilOver(signal)])
    await Promise.race([Promise.allSettled(sockets.map((socket) => socket.closed)), untilOver(signal)])
    const open = sockets.filter((socket) => !socket.over).length
    const taken = sockets.reduce((sum, socket) => sum + socket.bytesWritten, 0)
    for (const socket of sockets) socket.destroy()
    return `${Math.round(taken / 2 ** 20)} MiB taken, ${open} sockets still open`
  },
}

const pingsBeforeHello: Scenario = {
  name: 'pings',
  title: 'pings of the WebSocket without a hello, by somebody who reads nothing',
  attackMs: 6000,
  prepare: async (stage) => async (signal) => {
    const sockets = await Promise.all(Array.from({ length: 16 }, () => RawSocket.open(stage.url, { reads: false })))
    const pings = RawSocket.pings(4096)
    const flood = async (socket: RawSocket): Promise<void> => {
      while (!signal.aborted && !socket.over) await socket.write(pings)
    }
    await Promise.race([Promise.allSettled(sockets.map(flood)), untilOver(signal)])
    const open = sockets.filter((socket) => !socket.over).length
    for (const socket of sockets) socket.destroy()
    return `${open} sockets still open`
  },
}

const SESSIONS = 60

const partialMessages: Scenario = {
  name: 'partial',
  title: `one agent, ${SESSIONS} sessions, almost 8 MiB of one message in each`,
  attackMs: 6000,
  prepare: async (stage) => {
    const agent = await stage.agent(['m1'])
    return async (signal) => {
      const part = randomBytes(64 * 1024)
      const sockets: RawSocket[] = []
      for (let index = 0; index < SESSIONS; index++) {
        const socket = await RawSocket.open(stage.url, { token: await agent.assertion() })
        await socket.hello()
        sockets.push(socket)
      }
      const fill = async (socket: RawSocket): Promise<void> => {
        socket.header(ALMOST_A_MESSAGE + 1024)
        for (let bytes = 0; bytes < ALMOST_A_MESSAGE && !signal.aborted; bytes += part.length) await socket.write(part)
      }
      await Promise.race([Promise.allSettled(sockets.map(fill)), untilOver(signal)])
      await untilOver(signal)
      const open = sockets.filter((socket) => !socket.over).length
      for (const socket of sockets) socket.destroy()
      return `${open} of ${SESSIONS} sessions still open`
    }
  },
}

const slowReaders: Scenario = {
  name: 'readers',
  title: 'one agent, 8 sessions that ask for 48 downloads each and read nothing',
  attackMs: 6000,
  prepare: async (stage) => {
    const { agent, order } = await begun(stage, 1)
    const plain = randomBytes(CHUNK_BYTES_DEFAULT)
    const upload = agent.peer.open('image.upload', { job: order.job, disk: diskName(0) })
    const messages = upload.messages[Symbol.asyncIterator]()
    await messages.next()
    // one chunk at every place: the image is as long as one that was sent whole
    const id = keyedHash(order.idKey, plain)
    const ids = Buffer.concat(Array.from({ length: IDS }, () => id))
    for (let message = 0; message < MESSAGES; message++) {
      await upload.send([UP.runs, [[RUN.ids, ids]]])
      await messages.next()
      if (message === 0) await upload.send(chunksMessage(UP.chunks, rawChunk(id, plain)))
    }
    upload.end()
    await upload.result
    await agent.peer.call('backup.commit', { job: order.job, bytesRead: SIZE })
    return async (signal) => {
      const sockets: RawSocket[] = []
      for (let session = 0; session < 8; session++) {
        const socket = await RawSocket.open(stage.url, { token: await agent.assertion() })
        await socket.hello()
        socket.pause()
        for (let call = 0; call < 48; call++) {
          const params = { point: order.job, disk: diskName(0), position: 0, skipDamaged: false }
          await socket.request(2 * call + 1, 'image.download', params)
          await socket.credit(2 * call + 1, 2 ** 30)
        }
        sockets.push(socket)
      }
      await untilOver(signal)
      const open = sockets.filter((socket) => !socket.over).length
      for (const socket of sockets) socket.destroy()
      return `${open} of 8 sessions still open`
    }
  },
}

const bigAnswers: Scenario = {
  name: 'answers',
  title: 'one person, 8 sessions that ask for listings and read nothing',
  attackMs: 6000,
  prepare: async (stage) => {
    const { agent } = await begun(stage, 200)
    return async (signal) => {
      const sockets: RawSocket[] = []
      for (let session = 0; session < 8; session++) {
        const socket = await RawSocket.open(stage.url, { token: await agent.assertion() })
        await socket.hello()
        socket.pause()
        sockets.push(socket)
      }
      const ask = async (socket: RawSocket): Promise<void> => {
        for (let id = 1; !signal.aborted && !socket.over && id < 40_000; id += 2) {
          await socket.request(id, 'jobs.list', { machine: null, limit: 250 })
          if (id % 64 === 1) await sleep(5)
        }
      }
      await Promise.race([Promise.allSettled(sockets.map(ask)), untilOver(signal)])
      await untilOver(signal)
      const open = sockets.filter((socket) => !socket.over).length
      for (const socket of sockets) socket.destroy()
      return `${open} of 8 sessions still open`
    }
  },
}

export const memory: readonly Scenario[] = [
  runsWithoutChunks,
  parkedUploads,
  beforeHello,
  pingsBeforeHello,
  partialMessages,
  slowReaders,
  bigAnswers,
]
