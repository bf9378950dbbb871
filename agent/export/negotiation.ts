// The server's side of the NBD handshake, without I/O: the answers to a client's options, and what they have settled at the end.
import { ALLOCATION_CONTEXT } from '../nbd/extents.ts'
import {
  FIXED_NEWSTYLE,
  INFO_BLOCK_SIZE,
  INFO_EXPORT,
  NBD_MAGIC,
  NO_ZEROES,
  OPTION,
  OPTION_MAGIC,
  OPTION_REPLY,
  OPTION_REPLY_ERROR,
  OPTION_REPLY_MAGIC,
} from '../nbd/option-wire.ts'
import { PAYLOAD_BYTES_MAX, STRING_BYTES_MAX, writeUint64 } from '../nbd/wire.ts'

/** Bytes in front of an option's data: IHAVEOPT(8) option(4) length(4). */
export const OPTION_HEADER_BYTES = 16

/** Longest data of an option that is looked at, in bytes; that of a longer one is skipped. */
export const OPTION_BYTES_MAX = 64 * 1024

/** Options of one client. */
export const OPTIONS_MAX = 256

/** Contexts that one option may ask for. */
const QUERIES_MAX = 64

const INFO_NAME = 1
const INFO_DESCRIPTION = 2

const ERROR = {
  unsupported: OPTION_REPLY_ERROR + 1,
  invalid: OPTION_REPLY_ERROR + 3,
  unknown: OPTION_REPLY_ERROR + 6,
  tooBig: OPTION_REPLY_ERROR + 9,
  extendedHeaders: OPTION_REPLY_ERROR + 10,
} as const

/** Bits of the transmission flags: there are flags, read-only, FLUSH, WRITE_ZEROES, DF, several connections see one state. */
const FLAGS = {
  has: 1 << 0,
  readOnly: 1 << 1,
  flush: 1 << 2,
  writeZeroes: 1 << 6,
  dontFragment: 1 << 7,
  multiConn: 1 << 8,
} as const

/** How replies look: `structured` and `extended` ones come in chunks. */
export type ReplyMode = 'simple' | 'structured' | 'extended'

/** What an export is to clients. */
export interface Offered {
  readonly name: string
  readonly description: string
  /** In bytes. */
  readonly size: number
  /** Bytes that one read had best have. */
  readonly preferred: number
  /** Names of its contexts; the id of each is its index. */
  readonly contexts: readonly string[]
  /** It is written to, and not read. */
  readonly isTarget?: true
}

export const CONTEXT = { allocation: 0, changed: 1 } as const

/** The contexts of an export, and the name of that of its changes since a restore point. */
export const contextsOf = (since: string | null): readonly string[] =>
  since === null ? [ALLOCATION_CONTEXT] : [ALLOCATION_CONTEXT, `varve:changed:${since}`]

/** What client and server have settled. */
export interface Settled<E extends Offered> {
  readonly exported: E
  readonly mode: ReplyMode
  /** Ids of contexts, in the order asked. */
  readonly contexts: readonly number[]
}

export interface OptionAnswer<E extends Offered> {
  readonly replies: readonly Buffer[]
  /** What comes next: another option, the end of the connection, or requests. */
  readonly next: 'option' | 'end' | Settled<E>
}

/** The first bytes of a server. */
export const greeting = (): Buffer => {
  const bytes = Buffer.alloc(18)
  bytes.writeBigUInt64BE(NBD_MAGIC, 0)
  bytes.writeBigUInt64BE(OPTION_MAGIC, 8)
  bytes.writeUInt16BE(FIXED_NEWSTYLE | NO_ZEROES, 16)
  return bytes
}

/** An option's number and the length of its data; null where it is none. */
export const readOptionHeader = (bytes: Buffer): { readonly option: number; readonly length: number } | null =>
  bytes.readBigUInt64BE(0) === OPTION_MAGIC ? { option: bytes.readUInt32BE(8), length: bytes.readUInt32BE(12) } : null

const replyOf = (option: number, type: number, data: Buffer = Buffer.alloc(0)): Buffer => {
  const header = Buffer.alloc(20)
  header.writeBigUInt64BE(OPTION_REPLY_MAGIC, 0)
  header.writeUInt32BE(option, 8)
  header.writeUInt32BE(type, 12)
  header.writeUInt32BE(data.length, 16)
  return Buffer.concat([header, data])
}

/** The answer to an option whose data was skipped. */
export const tooBig = (option: number): Buffer => replyOf(option, ERROR.tooBig, Buffer.from('the option is too long'))

const uint32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

const uint16 = (value: number): Buffer => {
  const bytes = Buffer.alloc(2)
  bytes.writeUInt16BE(value)
  return bytes
}

/** Reads an option's data from left to right; null from then on where it ends too early. */
class Fields {
  readonly #bytes: Buffer
  #at = 0
  #short = false

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  /** Whether everything was there, and nothing is left. */
  get complete(): boolean {
    return !this.#short && this.#at === this.#bytes.length
  }

  number(bytes: 2 | 4): number {
    const taken = this.#take(bytes)
    return taken === null ? 0 : taken.readUIntBE(0, bytes)
  }

  string(): string {
    const length = this.number(4)
    const taken = length > STRING_BYTES_MAX ? this.#take(Number.POSITIVE_INFINITY) : this.#take(length)
    return taken?.toString('utf8') ?? ''
  }

  #take(bytes: number): Buffer | null {
    if (this.#short || this.#at + bytes > this.#bytes.length) {
      this.#short = true
      return null
    }
    return this.#bytes.subarray(this.#at, (this.#at += bytes))
  }
}

export class Negotiation<E extends Offered> {
  readonly #exports: readonly E[]
  readonly #padded: boolean
  #mode: ReplyMode = 'simple'
  /** Contexts that were set, good only for the export they were set for. */
  #set: { readonly exported: E; readonly contexts: readonly number[] } | null = null

  /** With the client's flags, after which options come; the first export is that of the empty name. */
  constructor(exports: readonly E[], clientFlags: number) {
    this.#exports = exports
    this.#padded = (clientFlags & NO_ZEROES) === 0
  }

  /** Whether a client's flags are known ones. */
  static speaks(clientFlags: number): boolean {
    return (clientFlags & ~(FIXED_NEWSTYLE | NO_ZEROES)) === 0 && (clientFlags & FIXED_NEWSTYLE) !== 0
  }

  answer(option: number, data: Buffer): OptionAnswer<E> {
    switch (option) {
      case OPTION.exportName:
        return this.#exportName(data)
      case OPTION.abort:
        return { replies: [replyOf(option, OPTION_REPLY.ack)], next: 'end' }
      case OPTION.list:
        return this.#list(data)
      case OPTION.info:
      case OPTION.go:
        return this.#info(option, data)
      case OPTION.structuredReply:
      case OPTION.extendedHeaders:
        return this.#replies(option, data)
      case OPTION.listMetaContext:
      case OPTION.setMetaContext:
        return this.#contexts(option, data)
      default:
        return this.#refuse(option, ERROR.unsupported, 'this server does not have this option')
    }
  }

  #refuse(option: number, type: number, why: string): OptionAnswer<E> {
    return { replies: [replyOf(option, type, Buffer.from(why))], next: 'option' }
  }

  #find(name: string): E | undefined {
    return name === '' ? this.#exports[0] : this.#exports.find((one) => one.name === name)
  }

  #unknown(option: number): OptionAnswer<E> {
    return this.#refuse(option, ERROR.unknown, 'there is no export of this name')
  }

  #flags({ isTarget }: E): number {
    const { has, readOnly, flush, writeZeroes, dontFragment, multiConn } = FLAGS
    if (isTarget === true) return has | flush | writeZeroes
    return has | readOnly | flush | multiConn | (this.#mode === 'simple' ? 0 : dontFragment)
  }

  #settle(exported: E): Settled<E> {
    const contexts = this.#set?.exported === exported ? this.#set.contexts : []
    return { exported, mode: this.#mode, contexts }
  }

  /** The old way in, which can refuse only by closing. */
  #exportName(data: Buffer): OptionAnswer<E> {
    const exported = this.#find(data.toString('utf8'))
    if (exported === undefined || this.#mode === 'extended') return { replies: [], next: 'end' }
    const opened = Buffer.alloc(this.#padded ? 134 : 10)
    writeUint64(opened, exported.size, 0)
    opened.writeUInt16BE(this.#flags(exported), 8)
    return { replies: [opened], next: this.#settle(exported) }
  }

  #list(data: Buffer): OptionAnswer<E> {
    if (data.length > 0) return this.#refuse(OPTION.list, ERROR.invalid, 'a list takes no data')
    const rows = this.#exports.map(({ name, description }) => {
      const bytes = Buffer.from(name)
      return replyOf(
        OPTION.list,
        OPTION_REPLY.server,
        Buffer.concat([uint32(bytes.length), bytes, Buffer.from(description)]),
      )
    })
    return { replies: [...rows, replyOf(OPTION.list, OPTION_REPLY.ack)], next: 'option' }
  }

  #info(option: number, data: Buffer): OptionAnswer<E> {
    const fields = new Fields(data)
    const name = fields.string()
    const asked = Array.from({ length: fields.number(2) }, () => fields.number(2))
    if (!fields.complete) return this.#refuse(option, ERROR.invalid, 'the data does not fit the option')
    const exported = this.#find(name)
    if (exported === undefined) return this.#unknown(option)
    const about = Buffer.alloc(12)
    about.writeUInt16BE(INFO_EXPORT, 0)
    writeUint64(about, exported.size, 2)
    about.writeUInt16BE(this.#flags(exported), 10)
    const sizes = Buffer.alloc(14)
    sizes.writeUInt16BE(INFO_BLOCK_SIZE, 0)
    sizes.writeUInt32BE(1, 2)
    sizes.writeUInt32BE(exported.preferred, 6)
    sizes.writeUInt32BE(PAYLOAD_BYTES_MAX, 10)
    const infos = [about, sizes]
    if (asked.includes(INFO_NAME)) infos.push(Buffer.concat([uint16(INFO_NAME), Buffer.from(exported.name)]))
    if (asked.includes(INFO_DESCRIPTION))
      infos.push(Buffer.concat([uint16(INFO_DESCRIPTION), Buffer.from(exported.description)]))
    const replies = infos.map((info) => replyOf(option, OPTION_REPLY.info, info))
    return {
      replies: [...replies, replyOf(option, OPTION_REPLY.ack)],
      next: option === OPTION.go ? this.#settle(exported) : 'option',
    }
  }

  #replies(option: number, data: Buffer): OptionAnswer<E> {
    if (data.length > 0) return this.#refuse(option, ERROR.invalid, 'this option takes no data')
    const wanted: ReplyMode = option === OPTION.extendedHeaders ? 'extended' : 'structured'
    if (this.#mode === wanted) return this.#refuse(option, ERROR.invalid, 'this was settled before')
    if (this.#mode === 'extended')
      return this.#refuse(option, ERROR.extendedHeaders, 'extended headers were settled before')
    this.#mode = wanted
    return { replies: [replyOf(option, OPTION_REPLY.ack)], next: 'option' }
  }

  #contexts(option: number, data: Buffer): OptionAnswer<E> {
    const fields = new Fields(data)
    const name = fields.string()
    const count = fields.number(4)
    const queries = count > QUERIES_MAX ? [] : Array.from({ length: count }, () => fields.string())
    const sets = option === OPTION.setMetaContext
    // even a refused one ends what was set before
    if (sets) this.#set = null
    if (count > QUERIES_MAX) return this.#refuse(option, ERROR.tooBig, 'too many contexts at once')
    if (!fields.complete) return this.#refuse(option, ERROR.invalid, 'the data does not fit the option')
    if (this.#mode === 'simple')
      return this.#refuse(option, ERROR.invalid, 'structured replies have to be settled first')
    const exported = this.#find(name)
    if (exported === undefined) return this.#unknown(option)
    const matches = (context: string, query: string): boolean =>
      context === query || (!sets && query.endsWith(':') && context.startsWith(query))
    const found = exported.contexts.flatMap((context, id) =>
      (!sets && queries.length === 0) || queries.some((query) => matches(context, query)) ? [{ context, id }] : [],
    )
    if (sets) this.#set = { exported, contexts: found.map(({ id }) => id) }
    const rows = found.map(({ context, id }) =>
      replyOf(option, OPTION_REPLY.metaContext, Buffer.concat([uint32(sets ? id : 0), Buffer.from(context)])),
    )
    return { replies: [...rows, replyOf(option, OPTION_REPLY.ack)], next: 'option' }
  }
}
