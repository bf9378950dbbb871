// One NBD client: its handshake within a deadline, then its requests, a bounded part of them at once, until it goes.
import type { Socket } from 'node:net'
import { asVarveError, type VarveError } from '../../protocol/errors.ts'
import { ALLOCATION_HOLE, ALLOCATION_ZERO, BITMAP_DIRTY } from '../nbd/wire.ts'
import type { ChunkSource, Piece } from './chunk-source.ts'
import { ClientSocket, Gone } from './client-socket.ts'
import { mapOf, type MappedTree } from './extents.ts'
import { CONTEXT, type Offered, type Settled } from './negotiation.ts'
import { ERRNO, planRequest, readRequest, ReplyChunks, requestBytes, simpleReply, type Request } from './requests.ts'

/** Requests of one client that are worked on at once, and their bytes; further ones wait in its socket. */
const REQUESTS_MAX = 128
const REQUEST_BYTES_MAX = 8 * 1024 * 1024

/** What a request counts for at least, in bytes: that of a map, too. */
const REQUEST_BYTES_MIN = 64 * 1024

/** A disk as it is exported. */
export interface ExportedDisk extends Offered {
  readonly source: Pick<ChunkSource, 'read'>
  readonly tree: MappedTree
  readonly chunkBytes: number
  /** The tree against which changes are told; null for none, and absent trees differ everywhere but in zeroes. */
  readonly since: { readonly tree: MappedTree | null } | null
}

/** A range of a disk, in bytes, that a client could not read. */
export interface FailedRead {
  readonly disk: string
  readonly offset: number
  readonly length: number
  readonly error: VarveError
}

export interface ClientOptions {
  readonly exports: readonly ExportedDisk[]
  readonly onFailure: (failed: FailedRead) => void
  readonly onServed: (bytes: number) => void
}

/** What a read counts for, in bytes: the chunks that are held until it is sent, or all that one client may have. */
const bytesOf = ({ offset, length }: Request, { chunkBytes }: ExportedDisk): number => {
  const chunks = Math.ceil((offset + length) / chunkBytes) - Math.floor(offset / chunkBytes)
  return Math.min(REQUEST_BYTES_MAX, Math.max(REQUEST_BYTES_MIN, chunks * chunkBytes))
}

export class ClientConnection {
  readonly #client: ClientSocket
  readonly #options: ClientOptions
  readonly #busy = new Set<Promise<void>>()
  #busyBytes = 0

  constructor(socket: Socket, options: ClientOptions) {
    this.#client = new ClientSocket(socket)
    this.#options = options
  }

  /** Serves the client until it has gone. */
  async run(): Promise<void> {
    try {
      await this.#client.run(this.#options.exports, (settled) => this.#serve(settled))
    } finally {
      // what is worked on ends with its next write
      await Promise.allSettled(this.#busy)
    }
  }

  async #serve(settled: Settled<ExportedDisk>): Promise<void> {
    const { exported, mode, contexts } = settled
    const circumstances = { size: exported.size, mode, maps: contexts.length > 0 }
    for (;;) {
      const request = readRequest(await this.#client.take(requestBytes(mode)), mode)
      const plan = request === null ? null : planRequest(request, circumstances)
      if (request === null || plan === null || plan.kind === 'disconnect') break
      if (request.payload > 0) await this.#client.skip(request.payload)
      const bytes = plan.kind === 'read' ? bytesOf(request, exported) : REQUEST_BYTES_MIN
      while (this.#busy.size >= REQUESTS_MAX || (this.#busy.size > 0 && this.#busyBytes + bytes > REQUEST_BYTES_MAX))
        await this.#client.news()
      this.#busyBytes += bytes
      const work: Promise<void> = this.#answer(request, plan, settled)
        // the rest of a reply that has begun can only be cut off
        .catch(() => this.#client.destroy())
        .finally(() => {
          this.#busy.delete(work)
          this.#busyBytes -= bytes
          this.#client.tell()
        })
      this.#busy.add(work)
    }
    await Promise.all(this.#busy)
  }

  async #answer(
    request: Request,
    plan: NonNullable<ReturnType<typeof planRequest>>,
    settled: Settled<ExportedDisk>,
  ): Promise<void> {
    const { mode } = settled
    if (plan.kind === 'read') return await this.#read(request, plan.whole, settled)
    if (plan.kind === 'map') return await this.#map(request, plan.limit, settled)
    const chunks = new ReplyChunks(request, mode)
    const refused = plan.kind === 'refuse' ? plan : null
    if (mode === 'simple') return await this.#turn([simpleReply(request.cookie, refused?.errno ?? 0)])
    await this.#turn([refused === null ? chunks.end() : chunks.error(refused.errno, refused.why)])
  }

  async #read(request: Request, whole: boolean, settled: Settled<ExportedDisk>): Promise<void> {
    const { exported, mode } = settled
    const { cookie, offset, length } = request
    const chunks = new ReplyChunks(request, mode)
    const pieces = exported.source.read(offset, length)
    const held: Piece[] = []
    try {
      // what may come in one part only is had first, as nothing of it can be taken back
      const firstBytes = whole ? Math.min(length, REQUEST_BYTES_MAX) : 1
      for (let bytes = 0; bytes < firstBytes; bytes += held.at(-1)!.length)
        held.push((await pieces.next()).value as Piece)
    } catch (thrown) {
      for (const { release } of held) release()
      this.#failed(exported, request, thrown)
      const why = asVarveError(thrown).message
      return await this.#turn([mode === 'simple' ? simpleReply(cookie, ERRNO.io) : chunks.error(ERRNO.io, why)])
    }
    try {
      if (whole) {
        const header = mode === 'simple' ? simpleReply(cookie) : chunks.data(offset, length, true)
        await this.#sendWhole(header, held, pieces)
      } else await this.#sendParts(request, chunks, held[0]!, pieces)
      this.#options.onServed(length)
    } catch (thrown) {
      if (thrown instanceof Gone) throw thrown
      this.#failed(exported, request, thrown)
      if (whole) throw thrown
      await this.#turn([chunks.error(ERRNO.io, asVarveError(thrown).message)])
    } finally {
      await pieces.return(undefined)
    }
  }

  /** Everything behind one header; nothing else may come in between, and a piece that fails ends the connection. */
  #sendWhole(header: Buffer, held: readonly Piece[], pieces: AsyncIterable<Piece>): Promise<void> {
    return this.#client.inTurn(async () => {
      const release = (): void => {
        for (const one of held) one.release()
      }
      await this.#client.write([header, ...held.map(plainOf)], release)
      for await (const piece of pieces) await this.#client.write([plainOf(piece)], piece.release)
    })
  }

  /** Each piece in a chunk of its own. */
  async #sendParts(
    { offset, length }: Request,
    chunks: ReplyChunks,
    first: Piece,
    pieces: AsyncIterator<Piece>,
  ): Promise<void> {
    let at = offset
    for (let piece = first; ;) {
      const { bytes, release } = piece
      const done = at + piece.length === offset + length
      await this.#turn(
        bytes === null ? [chunks.hole(at, piece.length, done)] : [chunks.data(at, bytes.length, done), bytes],
        release,
      )
      at += piece.length
      if (done) return
      piece = (await pieces.next()).value as Piece
    }
  }

  async #map(request: Request, limit: number, { exported, mode, contexts }: Settled<ExportedDisk>): Promise<void> {
    const { offset, length } = request
    const { tree, since, chunkBytes } = exported
    const chunks = new ReplyChunks(request, mode)
    const answers: Buffer[] = []
    try {
      for (const [index, context] of contexts.entries()) {
        const allocation = context === CONTEXT.allocation
        const other = allocation ? null : since!.tree
        const extents = (await mapOf({ tree, other, chunkBytes, offset, length, limit })).map((extent) => ({
          length: extent.length,
          flags: allocation
            ? extent.differs
              ? 0
              : ALLOCATION_HOLE | ALLOCATION_ZERO
            : extent.differs
              ? BITMAP_DIRTY
              : 0,
        }))
        answers.push(chunks.status(context, extents, index === contexts.length - 1))
      }
    } catch (thrown) {
      this.#failed(exported, request, thrown)
      return await this.#turn([chunks.error(ERRNO.io, asVarveError(thrown).message)])
    }
    await this.#turn(answers)
  }

  #failed({ name }: ExportedDisk, { offset, length }: Request, thrown: unknown): void {
    this.#options.onFailure({ disk: name, offset, length, error: asVarveError(thrown) })
  }

  #turn(pieces: readonly Uint8Array[], onSent?: () => void): Promise<void> {
    return this.#client.send(pieces, onSent)
  }
}

/** Bytes of a piece, also of zeroes. */
const plainOf = ({ bytes, length }: Piece): Uint8Array => bytes ?? Buffer.alloc(length)
