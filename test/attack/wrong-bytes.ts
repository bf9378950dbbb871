// Attacks with wrong words and bytes: a second connection, codes that nobody knows, chunks that are no single frame, zeroes
// by their ids.
import { announced } from '../support/announced.ts'
import { asVarveError, VarveError, type ErrorCode } from '../../protocol/errors.ts'
import { ANSWER, DOWN, RUN, UP, type Down } from '../../protocol/methods.ts'
import type { OpenCall, Peer } from '../../protocol/peer.ts'
import { keyedHash } from '../../protocol/host/keyed-hash.ts'
import { fullDisk } from '../gateway/catalog.ts'
import { chunksMessage, oddFrames } from '../protocol/wire-chunks.ts'
import type { AttackerAgent, Scenario, Stage } from './scenario.ts'

const codeOf = async (call: Promise<unknown>): Promise<string> =>
  call.then(
    () => 'answered',
    (thrown: unknown) => asVarveError(thrown).code,
  )

/** Throws unless what an attack met is what it must meet. */
const must = (what: string, met: string, expected: string): void => {
  if (met !== expected) throw new Error(`${what}: ${met}, and not ${expected}`)
}

interface Chunked {
  readonly agent: AttackerAgent
  readonly idKey: Uint8Array
  readonly chunkBytes: number
}

/** An agent that takes every backup and makes none by itself. */
const idleAgent = async (stage: Stage): Promise<Chunked> => {
  const agent = await stage.agent(['db1'], { 'agent.backup': async () => ({}), 'agent.cancel': async () => ({}) })
  const { idKey, chunkBytes } = stage.tenant
  return { agent, idKey, chunkBytes }
}

/** A backup of one disk that has begun. */
const begun = async (person: Peer, { peer }: AttackerAgent, size: number): Promise<string> => {
  const { job } = await person.call('backup.start', { machine: 'db1', full: true })
  await peer.call('backup.begin', {
    job,
    timeMs: Date.now(),
    consistency: 'crash',
    note: null,
    configuration: '{}',
    leftOut: [],
    disks: [fullDisk('vda', size, 'requested')],
  })
  return job
}

const ended = async ({ peer }: AttackerAgent, job: string): Promise<void> => {
  await peer.call('backup.fail', { job, code: 'CANCELLED', message: 'the attack is over' })
  await peer.call('backup.released', { job })
}

/** The next message of this kind. */
const heard = async (messages: AsyncIterator<Down<'image.upload'>>, kind: number): Promise<Down<'image.upload'>> => {
  while (true) {
    const next = await messages.next()
    if (next.done === true) throw new Error('the upload ended')
    if (next.value[0] === kind) return next.value
  }
}

interface Sent {
  readonly id: Uint8Array
  readonly plainLength: number
  readonly stored: Uint8Array
}

/** What the gateway answers to an image of one chunk. */
const uploaded = async (call: OpenCall<'image.upload'>, { id, plainLength, stored }: Sent): Promise<string> => {
  const messages = call.messages[Symbol.asyncIterator]()
  try {
    await heard(messages, DOWN.start)
    await call.send([UP.runs, [[RUN.ids, id]]])
    const answers = await heard(messages, DOWN.answers)
    if (answers[0] === DOWN.answers && answers[1][0] === ANSWER.want)
      await call.send(chunksMessage(UP.chunks, { id, codec: 1, plainLength, stored }))
    call.end()
  } catch {
    // the result has the reason
  }
  return codeOf(call.result)
}

const otherConnection: Scenario = {
  name: 'other-connection',
  title: 'a second connection of an agent tells of no jobs, and ends what runs',
  attackMs: 10_000,
  prepare: async (stage) => {
    const { agent } = await idleAgent(stage)
    const operator = await stage.person('operator')
    const job = await begun(operator, agent, 4096)
    const command = await agent.connect({ serving: false })
    return async () => {
      const list = { host: 'h', machines: [announced('db1')], jobs: [] }
      must('a list of jobs', await codeOf(command.call('agent.inventory', list)), 'NOT_SERVING')
      const failure = { job, code: 'CANCELLED', message: 'x' }
      must('an end', await codeOf(command.call('backup.fail', failure)), 'NOT_SERVING')
      must('a release', await codeOf(command.call('backup.released', { job })), 'NOT_SERVING')
      must('an upload', await codeOf(command.open('image.upload', { job, disk: 'vda' }).result), 'NOT_SERVING')
      const [row] = (await operator.call('jobs.list', { machine: 'db1', limit: 1 })).jobs
      must('the job', row?.state ?? 'gone', 'running')
      await ended(agent, job)
      return '4 calls NOT_SERVING, the job runs on'
    }
  },
}

const unknownCodes: Scenario = {
  name: 'unknown-codes',
  title: 'an agent answers with codes that nobody knows, and with those of the gateway',
  attackMs: 10_000,
  prepare: async (stage) => {
    const codes = ['MOON_PHASE', 'INTERNAL', 'CATALOG_DAMAGED', 'TOKEN_REVOKED']
    let next = 0
    await stage.agent(['db1'], {
      'agent.backup': async () => {
        throw new VarveError(codes[next++ % codes.length] as ErrorCode, 'not today')
      },
    })
    const operator = await stage.person('operator')
    return async () => {
      for (const code of codes)
        must(code, await codeOf(operator.call('backup.start', { machine: 'db1', full: false })), 'PEER_FAILED')
      return `${codes.length} answers PEER_FAILED`
    }
  },
}

const wrongFrames: Scenario = {
  name: 'wrong-frames',
  title: 'chunks that are not exactly one zstd frame',
  attackMs: 60_000,
  prepare: async (stage) => {
    const { agent, idKey, chunkBytes } = await idleAgent(stage)
    const operator = await stage.person('operator')
    const plain = new Uint8Array(chunkBytes).fill(2)
    const id = keyedHash(idKey, plain)
    return async () => {
      const frames = oddFrames(2, chunkBytes)
      for (const [name, stored] of frames) {
        const job = await begun(operator, agent, chunkBytes)
        const call = agent.peer.open('image.upload', { job, disk: 'vda' })
        must(name, await uploaded(call, { id, plainLength: chunkBytes, stored }), 'CHUNK_INVALID')
        await ended(agent, job)
      }
      return `${frames.length} chunks CHUNK_INVALID`
    }
  },
}

const zeroIds: Scenario = {
  name: 'zero-ids',
  title: 'chunks of zeroes that are said by their ids, whole and short',
  attackMs: 10_000,
  prepare: async (stage) => {
    const { agent, idKey, chunkBytes } = await idleAgent(stage)
    const operator = await stage.person('operator')
    return async () => {
      for (const length of [chunkBytes, 512]) {
        const job = await begun(operator, agent, length)
        const zeroes = new Uint8Array(length)
        const sent = { id: keyedHash(idKey, zeroes), plainLength: length, stored: zeroes }
        const call = agent.peer.open('image.upload', { job, disk: 'vda' })
        must(`${length} zeroes`, await uploaded(call, sent), 'UPLOAD_INVALID')
        await ended(agent, job)
      }
      return '2 images UPLOAD_INVALID'
    }
  },
}

export const wrongBytes: readonly Scenario[] = [otherConnection, unknownCodes, wrongFrames, zeroIds]
