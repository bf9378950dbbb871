// The gateway's side of one image upload: answers ids, takes chunks and proofs, builds the tree in order, commits, acknowledges.
import { Buffer } from 'node:buffer'
import { chunkCount, chunkLength, equalBytes, ID_BYTES, type KeyedHash } from '../../protocol/chunk.ts'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { rootLevel, sameRef, type Ref } from '../../protocol/image-tree.ts'
import { ANSWER, DOWN, RUN, UP, type Down, type Up, type WireChunk } from '../../protocol/methods.ts'
import type { Clock } from '../../protocol/peer.ts'
import type { UploadRow } from '../datastore/database/jobs.ts'
import type { ChunkBatch, ImageWriter } from '../datastore/image-writer.ts'
import type { TenantStore } from '../datastore/tenant-store.ts'
import { childAt } from '../datastore/tree.ts'
import { ImageTreeWriter } from './image-writer.ts'

/** New bytes after which the upload commits and acknowledges. */
const COMMIT_BYTES = 32 * 1024 * 1024

/** Longest time that something finished waits for its commit, in milliseconds. */
const COMMIT_INTERVAL_MS = 1000

/** Bytes of chunks that may be on their way through the verification threads for one upload. */
const VERIFYING_BYTES_MAX = 16 * 1024 * 1024

/** `runs` messages whose chunks or proofs are still missing; an agent with more outstanding waits for its answers. */
const BATCHES_MAX = 1024

type Upward = Up<'image.upload'>
type Runs = Extract<Upward, [typeof UP.runs, unknown]>[1]

/** One `runs` message and how many of its ids still wait for their chunk or proof. */
interface Batch {
  readonly runs: Runs
  missing: number
}

interface Wanted {
  readonly batch: Batch
  readonly length: number
}

export interface UploadOptions {
  readonly store: TenantStore
  readonly writer: ImageWriter
  readonly upload: UploadRow & { readonly machineId: number }
  readonly idKey: Uint8Array
  readonly chunkBytes: number
  readonly hash: KeyedHash
  readonly proofKey: Uint8Array
  readonly clock: Clock
  readonly onProgress: (position: number, received: number) => void
}

const keyOf = (id: Uint8Array): string => Buffer.from(id.buffer, id.byteOffset, id.byteLength).toString('latin1')

/** The chunks in a buffer of their own, which goes to the verification thread; the received frame may share its memory. */
const batchOf = (chunks: readonly WireChunk[], bytes: number): ChunkBatch => {
  const joined = new Uint8Array(bytes)
  let offset = 0
  const placed = chunks.map(([id, codec, plainLength, stored]) => {
    joined.set(stored, offset)
    offset += stored.length
    return { id, codec, plainLength, offset: offset - stored.length, length: stored.length }
  })
  return { buffer: joined.buffer, chunks: placed }
}

export class ImageUpload {
  readonly #options: UploadOptions
  readonly #tree: ImageTreeWriter
  readonly #chunks: number
  readonly #baseLevel: number
  /** Position the next `runs` message begins at; ahead of the tree's by what is still missing. */
  #announced: number
  readonly #batches: Batch[] = []
  readonly #wanted = new Map<string, Wanted>()
  readonly #toProve = new Map<string, Wanted>()
  /** Ids asked for in this upload that are not in the index yet. */
  readonly #pending = new Set<string>()
  #appended: string[] = []
  #verifyingBytes = 0
  #uncommittedBytes = 0
  #received: number
  #changed: number
  #committedPosition: number
  #inputEnded = false
  #failure: VarveError | null = null
  #wakePump: () => void = () => {}
  #wakeReader: () => void = () => {}

  constructor(options: UploadOptions) {
    this.#options = options
    const { upload } = options
    this.#chunks = chunkCount(upload.size, options.chunkBytes)
    this.#baseLevel = rootLevel(this.#chunks)
    this.#tree = new ImageTreeWriter({
      chunks: this.#chunks,
      idKey: options.idKey,
      hash: options.hash,
      state: upload.state,
      base: upload.hasBase === 1 && upload.kind === 'incremental' ? (level, at) => this.#baseRef(level, at) : null,
      onNode: (node) => {
        options.writer.addNodes([node])
        this.#uncommittedBytes += node.bytes.length
      },
    })
    this.#announced = this.#tree.position
    this.#committedPosition = this.#tree.position
    this.#received = upload.received
    this.#changed = upload.changed
  }

  /** Runs the upload to its end; resolves with the root once the whole image is durable. */
  async run(
    messages: AsyncIterable<Upward>,
    send: (message: Down<'image.upload'>) => Promise<void>,
  ): Promise<{ root: Ref }> {
    const { proofKey } = this.#options
    await send([DOWN.start, { position: this.#tree.position, proofKey }])
    try {
      const [root] = await Promise.all([this.#pump(send), this.#read(messages, send)])
      return { root }
    } catch (thrown) {
      this.#fail(asVarveError(thrown))
      throw thrown
    }
  }

  #fail(error: VarveError): void {
    this.#failure ??= error
    this.#wakePump()
    this.#wakeReader()
  }

  async #read(messages: AsyncIterable<Upward>, send: (message: Down<'image.upload'>) => Promise<void>): Promise<void> {
    try {
      for await (const message of messages) {
        if (this.#failure !== null) throw this.#failure
        if (message[0] === UP.runs) await send([DOWN.answers, await this.#onRuns(message[1])])
        else if (message[0] === UP.chunks) await this.#onChunks(message[1])
        else await send([DOWN.verdicts, await this.#onProofs(message[1])])
        this.#wakePump()
      }
      await this.#until(() => this.#verifyingBytes === 0)
      if (this.#wanted.size > 0 || this.#toProve.size > 0)
        throw new VarveError('IMAGE_INCOMPLETE', `the upload ended with ${this.#wanted.size} chunks missing`)
      this.#inputEnded = true
      this.#wakePump()
    } catch (thrown) {
      this.#fail(asVarveError(thrown))
      throw thrown
    }
  }

  async #onRuns(runs: Runs): Promise<Uint8Array> {
    if (this.#batches.length >= BATCHES_MAX)
      throw new VarveError('UPLOAD_INVALID', 'too many runs wait for their chunks')
    const batch: Batch = { runs, missing: 0 }
    const ids: Uint8Array[] = []
    const positions: number[] = []
    for (const [kind, value] of runs) {
      if (kind !== RUN.ids) {
        this.#announced += value
        continue
      }
      for (let at = 0; at < value.length; at += ID_BYTES) {
        ids.push(value.subarray(at, at + ID_BYTES))
        positions.push(this.#announced++)
      }
      this.#received += value.length
    }
    if (this.#announced > this.#chunks) throw new VarveError('UPLOAD_INVALID', 'the runs go beyond the end of the disk')
    const known = await this.#options.store.have(ids, this.#options.upload.machineId)
    const answers = new Uint8Array(ids.length)
    for (const [index, id] of ids.entries()) {
      const answer = await this.#answer(id, positions[index]!, known[index]!)
      answers[index] = answer
      if (answer === ANSWER.have) continue
      const key = keyOf(id)
      const wanted = {
        batch,
        length: chunkLength(positions[index]!, this.#options.upload.size, this.#options.chunkBytes),
      }
      if (answer === ANSWER.want) {
        this.#wanted.set(key, wanted)
        this.#pending.add(key)
      } else if (this.#toProve.has(key)) {
        // one proof answers for every place that names the id before it comes
        answers[index] = ANSWER.have
        continue
      } else this.#toProve.set(key, wanted)
      batch.missing++
    }
    this.#batches.push(batch)
    return answers
  }

  async #answer(id: Uint8Array, position: number, known: number): Promise<number> {
    if (known === 2) return ANSWER.have
    if (known === 0) return this.#pending.has(keyOf(id)) ? ANSWER.have : ANSWER.want
    // there, but brought by another machine: the base at the same place shows that this machine's chain holds it
    if (this.#options.upload.hasBase === 1 && sameRef(await this.#baseRef(0, position), id)) return ANSWER.have
    return ANSWER.prove
  }

  #baseRef(level: number, position: number): Promise<Ref> {
    return childAt(this.#options.store, this.#options.upload.baseRoot, this.#baseLevel, level, position)
  }

  async #onChunks(chunks: readonly WireChunk[]): Promise<void> {
    const taken: { key: string; wanted: Wanted }[] = []
    let bytes = 0
    for (const [id, , plainLength, stored] of chunks) {
      const key = keyOf(id)
      const wanted = this.#wanted.get(key)
      if (wanted === undefined) throw new VarveError('CHUNK_INVALID', 'a chunk came that was not asked for')
      if (wanted.length !== plainLength)
        throw new VarveError('CHUNK_INVALID', `a chunk has ${plainLength} bytes, ${wanted.length} were expected`)
      this.#wanted.delete(key)
      taken.push({ key, wanted })
      bytes += stored.length
    }
    this.#received += bytes
    await this.#until(() => this.#verifyingBytes === 0 || this.#verifyingBytes + bytes <= VERIFYING_BYTES_MAX)
    this.#verifyingBytes += bytes
    // not awaited: the next message is read while this one is verified and written
    void this.#append(chunks, taken, bytes)
  }

  async #append(chunks: readonly WireChunk[], taken: { key: string; wanted: Wanted }[], bytes: number): Promise<void> {
    try {
      await this.#options.writer.append(batchOf(chunks, bytes))
      for (const { key, wanted } of taken) {
        this.#appended.push(key)
        wanted.batch.missing--
      }
      this.#uncommittedBytes += bytes
    } catch (thrown) {
      this.#fail(asVarveError(thrown))
    } finally {
      this.#verifyingBytes -= bytes
      this.#wakeReader()
      this.#wakePump()
    }
  }

  /** One verdict per proof: `have` when it is right, `want` when our own copy is damaged; a wrong one ends the upload. */
  async #onProofs(proofs: readonly (readonly [Uint8Array, Uint8Array])[]): Promise<Uint8Array> {
    const { store, proofKey } = this.#options
    const entries = proofs.map(([id]) => {
      const key = keyOf(id)
      const wanted = this.#toProve.get(key)
      if (wanted === undefined) throw new VarveError('PROOF_INVALID', 'a proof came that was not asked for')
      this.#toProve.delete(key)
      return { key, wanted }
    })
    this.#received += proofs.length * 2 * ID_BYTES
    const expected = await store.prove(
      proofs.map(([id]) => id),
      proofKey,
    )
    return Uint8Array.from(proofs, ([, proof], index) => {
      const { key, wanted } = entries[index]!
      const right = expected[index] ?? null
      if (right === null) {
        this.#wanted.set(key, wanted)
        this.#pending.add(key)
        return ANSWER.want
      }
      if (!equalBytes(right, proof)) throw new VarveError('PROOF_INVALID', 'a proof of possession is wrong')
      wanted.batch.missing--
      return ANSWER.have
    })
  }

  /** Places finished batches in the tree and commits now and then; the only place that touches the tree. */
  async #pump(send: (message: Down<'image.upload'>) => Promise<void>): Promise<Ref> {
    const { clock } = this.#options
    let committedMs = clock.now()
    while (true) {
      if (this.#failure !== null) throw this.#failure
      const head = this.#batches[0]
      if (head !== undefined && head.missing === 0) {
        await this.#place(head.runs)
        this.#batches.shift()
      }
      const idle = this.#batches.length === 0 || this.#batches[0]!.missing > 0
      if (this.#inputEnded && this.#batches.length === 0) break
      const waitedMs = clock.now() - committedMs
      const progressed = this.#tree.position > this.#committedPosition
      if (this.#uncommittedBytes >= COMMIT_BYTES || (progressed && waitedMs >= COMMIT_INTERVAL_MS)) {
        await this.#commit(null)
        committedMs = clock.now()
        await send([DOWN.durable, this.#tree.position])
      } else if (idle) await this.#sleep(progressed ? COMMIT_INTERVAL_MS - waitedMs : null)
    }
    const root = this.#tree.finish()
    await this.#commit({ root })
    return root
  }

  async #place(runs: Runs): Promise<void> {
    for (const [kind, value] of runs) {
      const before = this.#tree.position
      if (kind === RUN.zero) this.#tree.zeroes(value)
      else if (kind === RUN.keep) await this.#tree.keep(value)
      else for (let at = 0; at < value.length; at += ID_BYTES) this.#tree.chunk(value.subarray(at, at + ID_BYTES))
      if (kind !== RUN.keep) this.#changed += (this.#tree.position - before) * this.#options.chunkBytes
    }
  }

  async #commit(finished: { root: Ref } | null): Promise<void> {
    const keys = this.#appended
    this.#appended = []
    this.#uncommittedBytes = 0
    const { position } = this.#tree
    await this.#options.writer.commit({
      position,
      state: this.#tree.state,
      received: this.#received,
      changed: Math.min(this.#changed, this.#options.upload.size),
      finished: finished !== null,
      root: finished?.root ?? null,
    })
    for (const key of keys) this.#pending.delete(key)
    this.#committedPosition = position
    this.#options.onProgress(position, this.#received)
  }

  async #sleep(ms: number | null): Promise<void> {
    const { clock } = this.#options
    let stop: () => void = () => {}
    await new Promise<void>((resolve) => {
      this.#wakePump = resolve
      if (ms !== null) stop = clock.after(Math.max(1, ms), resolve)
    })
    stop()
    this.#wakePump = () => {}
  }

  async #until(condition: () => boolean): Promise<void> {
    while (!condition()) {
      if (this.#failure !== null) throw this.#failure
      await new Promise<void>((resolve) => (this.#wakeReader = resolve))
    }
    if (this.#failure !== null) throw this.#failure
  }
}
