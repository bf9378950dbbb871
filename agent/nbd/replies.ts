// The receiving side of the transmission phase: passes replies of any kind and order to the requests they answer.

import { VarveError } from '../../protocol/errors.ts'
import type { Receiver } from './handshake.ts'
import type { PendingRequest } from './pending-request.ts'
import {
  CHUNK,
  CHUNK_ERROR,
  DATA_OFFSET_BYTES,
  decodeDataOffset,
  decodeErrorChunk,
  decodeHole,
  decodeReplyStart,
  decodeStatus,
  errnoName,
  ERROR_CHUNK_BYTES_MAX,
  HOLE_BYTES,
  protocolError,
  REPLY_FLAG_DONE,
  SIMPLE_REPLY_BYTES,
  STATUS_CHUNK_BYTES_MAX,
  STRUCTURED_REPLY_BYTES,
} from './wire.ts'

/** The requests that were sent and not yet answered. */
export interface RequestsInFlight {
  get(cookie: number): PendingRequest | undefined
  /** The answer to `cookie` is complete. */
  settle(cookie: number): void
}

interface Chunk {
  readonly type: number
  readonly length: number
  readonly done: boolean
}

type ContextNames = ReadonlyMap<number, string>

const failRequest = (pending: PendingRequest, errno: number, text: string): void => {
  if (errnoName(errno) === 'ESHUTDOWN') {
    throw new VarveError('NBD_ERROR', 'the NBD server is shutting down', { details: { errno: 'ESHUTDOWN' } })
  }
  pending.fail(errno, text)
}

function* receivePayload(length: number, lengthMax: number): Receiver<Buffer> {
  if (length > lengthMax) throw protocolError(`a reply chunk of ${length} bytes is too long`)
  const bytes = Buffer.allocUnsafe(length)
  yield bytes
  return bytes
}

function* receiveStatus(pending: PendingRequest, length: number, contexts: ContextNames): Receiver<void> {
  const { command, length: asked } = pending.request
  if (command !== 'blockStatus') throw protocolError(`${command} was answered with a block status`)
  const { contextId, extents } = decodeStatus(yield* receivePayload(length, STATUS_CHUNK_BYTES_MAX), asked)
  const context = contexts.get(contextId)
  if (context === undefined) throw protocolError(`a block status has the unknown context ${contextId}`)
  pending.status(context, extents)
}

function* receiveChunk(pending: PendingRequest, chunk: Chunk, contexts: ContextNames): Receiver<void> {
  const { type, length } = chunk
  if (type === CHUNK.data) {
    if (length <= DATA_OFFSET_BYTES) throw protocolError('a data chunk has no data')
    const offset = decodeDataOffset(yield* receivePayload(DATA_OFFSET_BYTES, DATA_OFFSET_BYTES))
    yield pending.place(offset, length - DATA_OFFSET_BYTES)
  } else if (type === CHUNK.hole) {
    const hole = decodeHole(yield* receivePayload(length, HOLE_BYTES))
    pending.hole(hole.offset, hole.length)
  } else if (type === CHUNK.blockStatus) {
    yield* receiveStatus(pending, length, contexts)
  } else if (type === CHUNK.none) {
    if (length !== 0 || !chunk.done) throw protocolError('an empty chunk does not end its reply')
  } else if ((type & CHUNK_ERROR) !== 0) {
    const { errno, text } = decodeErrorChunk(yield* receivePayload(length, ERROR_CHUNK_BYTES_MAX), type)
    failRequest(pending, errno, text)
  } else {
    throw protocolError(`the reply chunk type ${type} is unknown`)
  }
}

/** Receives without end; throws NBD_PROTOCOL, or NBD_ERROR when the server shuts down. */
export function* receiveReplies(requests: RequestsInFlight, contexts: ContextNames): Receiver<never> {
  const header = Buffer.alloc(STRUCTURED_REPLY_BYTES)
  const start = header.subarray(0, SIMPLE_REPLY_BYTES)
  const rest = header.subarray(SIMPLE_REPLY_BYTES)
  for (;;) {
    yield start
    const reply = decodeReplyStart(start)
    const pending = requests.get(reply.cookie)
    if (pending === undefined) throw protocolError(`a reply has the unknown cookie ${reply.cookie}`)
    let done = true
    if (reply.kind === 'simple') {
      const { command } = pending.request
      if (reply.errno !== 0) failRequest(pending, reply.errno, '')
      else if (command === 'read' || command === 'blockStatus') {
        throw protocolError(`${command} was answered with a simple reply`)
      }
    } else {
      yield rest
      done = (reply.flags & REPLY_FLAG_DONE) !== 0
      yield* receiveChunk(pending, { type: reply.type, length: rest.readUInt32BE(0), done }, contexts)
    }
    if (done) {
      pending.finish(contexts.size)
      requests.settle(reply.cookie)
    }
  }
}
