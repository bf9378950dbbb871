// The NBD handshake: from the greeting to an open export, as a generator that asks for bytes.
import { VarveError } from '../../protocol/errors.ts'
import {
  answerGreeting,
  BLOCK_SIZE_DEFAULT,
  decodeInfo,
  decodeMetaContext,
  decodeOptionReplyHeader,
  encodeGo,
  encodeOption,
  encodeSetMetaContext,
  GREETING_BYTES,
  OPTION,
  OPTION_REPLY,
  OPTION_REPLY_ERROR,
  OPTION_REPLY_HEADER_BYTES,
  optionErrorName,
  type NbdBlockSize,
  type NbdFlags,
} from './option-wire.ts'
import { protocolError } from './wire.ts'

/** Most pieces of information that a server may give about an export before it opens it. */
const INFO_REPLIES_MAX = 32

/** A conversation: yields the next buffer to be filled and resumes once it is full. */
export type Receiver<Result> = Generator<Buffer, Result, void>

/** An export after the handshake; `contexts` has the names by the server's ids. */
export interface NbdExport {
  readonly size: number
  readonly flags: NbdFlags
  readonly blockSize: NbdBlockSize
  readonly contexts: ReadonlyMap<number, string>
}

export interface HandshakeOptions {
  readonly exportName: string
  readonly contexts: readonly string[]
  readonly send: (bytes: Buffer) => void
}

interface OptionReply {
  readonly type: number
  readonly data: Buffer
}

function* receive(length: number): Receiver<Buffer> {
  const bytes = Buffer.alloc(length)
  yield bytes
  return bytes
}

const refusal = (option: string, type: number, data: Buffer): VarveError => {
  const reply = optionErrorName(type)
  const text = data.toString('utf8')
  const message = `the NBD server refused ${option}: ${text === '' ? reply : text}`
  return new VarveError('NBD_ERROR', message, { details: { option, reply } })
}

function* receiveOptionReply(option: number, name: string): Receiver<OptionReply> {
  const { type, length } = decodeOptionReplyHeader(yield* receive(OPTION_REPLY_HEADER_BYTES), option)
  const data = yield* receive(length)
  if (type >= OPTION_REPLY_ERROR) throw refusal(name, type, data)
  if (type === OPTION_REPLY.ack && length !== 0) throw protocolError('an acknowledgement carries data')
  return { type, data }
}

function* negotiateStructuredReplies(send: HandshakeOptions['send']): Receiver<void> {
  send(encodeOption(OPTION.structuredReply))
  const reply = yield* receiveOptionReply(OPTION.structuredReply, 'structured replies')
  if (reply.type !== OPTION_REPLY.ack) throw protocolError(`structured replies were answered with type ${reply.type}`)
}

function* negotiateContexts({ exportName, contexts, send }: HandshakeOptions): Receiver<ReadonlyMap<number, string>> {
  const ids = new Map<number, string>()
  if (contexts.length === 0) return ids
  const missing = new Set(contexts)
  send(encodeSetMetaContext(exportName, contexts))
  for (;;) {
    const reply = yield* receiveOptionReply(OPTION.setMetaContext, 'the metadata contexts')
    if (reply.type === OPTION_REPLY.ack) break
    if (reply.type !== OPTION_REPLY.metaContext) throw protocolError(`contexts were answered with type ${reply.type}`)
    const { id, name } = decodeMetaContext(reply.data)
    if (!missing.delete(name)) throw protocolError('the server gave a context that was not requested')
    if (ids.has(id)) throw protocolError('two contexts have the same id')
    ids.set(id, name)
  }
  const [context] = missing
  if (context !== undefined) {
    throw new VarveError('NBD_ERROR', `the NBD export has no context ${context}`, { details: { exportName, context } })
  }
  return ids
}

function* openExport({ exportName, send }: HandshakeOptions): Receiver<Omit<NbdExport, 'contexts'>> {
  let opened: { size: number; flags: NbdFlags } | null = null
  let blockSize = BLOCK_SIZE_DEFAULT
  send(encodeGo(exportName))
  for (let replies = 0; replies <= INFO_REPLIES_MAX; replies += 1) {
    const reply = yield* receiveOptionReply(OPTION.go, 'the export')
    if (reply.type === OPTION_REPLY.ack) {
      if (opened === null) throw protocolError('the export was opened without its size')
      return { ...opened, blockSize }
    }
    if (reply.type !== OPTION_REPLY.info) throw protocolError(`the export was answered with type ${reply.type}`)
    const info = decodeInfo(reply.data)
    if (info.kind === 'export') opened = { size: info.size, flags: info.flags }
    if (info.kind === 'blockSize') blockSize = info.blockSize
  }
  throw protocolError('the export was never opened')
}

/**
 * Fixed newstyle, structured replies, the contexts, then the export.
 * Throws NBD_PROTOCOL, or NBD_ERROR when the server refuses or has no such export or context.
 */
export function* handshake(options: HandshakeOptions): Receiver<NbdExport> {
  options.send(answerGreeting(yield* receive(GREETING_BYTES)))
  yield* negotiateStructuredReplies(options.send)
  const contexts = yield* negotiateContexts(options)
  return { ...(yield* openExport(options)), contexts }
}
