// The gateway's side of one image upload: answers ids, takes chunks and proofs, builds the tree in order, commits, acknowledges.
import type { UploadRow } from '../catalog/jobs.ts'
import { HAVE } from '../catalog/records.ts'
import { equalBytes, ID_BYTES, type KeyedHash } from '../../protocol/chunk.ts'
import { readHeads } from '../../protocol/chunk-list.ts'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import type { Ref } from '../../protocol/image-tree.ts'
import { UPLOAD_STORED_BYTES_MAX } from '../../protocol/limits.ts'
import { ANSWER, DOWN, UP, type Down, type Up } from '../../protocol/methods.ts'
import type { Clock, Received } from '../../protocol/peer.ts'
import type { ChunkBatch, UploadWriter } from '../datastore/upload-writer.ts'
import { Queue } from '../../protocol/host/limiter.ts'
import type { TenantStore } from '../datastore/tenant-store.ts'
import { idName, ownBytes } from '../../protocol/host/bytes.ts'
import { announcedIn } from './announced.ts'
import { AskedIds, wrongLength, type Asked } from './asked-ids.ts'
import { Backlog, batchOfRuns, type RunBatch } from './backlog.ts'
import { BaseImage } from './base-image.ts'
import { GrowingImage } from './growing-image.ts'
import type { UploadMemory } from './upload-memory.ts'
import { Wakes } from './wakes.ts'

/** New bytes after which the upload commits. */
const COMMIT_BYTES = 32 * 1024 * 1024

/** Runs and ids in the tree after which it commits as well: what is not durable takes memory. */
const COMMIT_ITEMS = 16 * 1024

/** Longest time that finished chunks wait for their commit, in milliseconds. */
const COMMIT_INTERVAL_MS = 1000

/** Bytes of chunks that may be on their way through the record threads for one upload. */
const VERIFYING_BYTES_MAX = 4 * 1024 * 1024

/** What a message of chunks counts at least, in bytes, so that many small ones are bounded too. */
const VERIFYING_COST_MIN = 64 * 1024

type Upward = Up<'image.upload'>
type Send = (message: Down<'image.upload'>) => Promise<void>

export interface UploadOptions {
  readonly store: TenantStore
  readonly writer: UploadWriter
  readonly upload: UploadRow & { readonly machine: string }
  readonly idKey: Uint8Array
  readonly chunkBytes: number
  readonly hash: KeyedHash
  readonly proofKey: Uint8Array
  readonly clock: Clock
  readonly memory: UploadMemory
  /** Ends the upload with its reason, a VarveError. */
  readonly signal: AbortSignal
  readonly onProgress: () => void
}

export class ImageUpload {
  readonly #options: UploadOptions
  readonly #image: GrowingImage
  readonly #base: BaseImage | null
  readonly #asked = new AskedIds()
  readonly #backlog: Backlog
  /** Position the next answered message begins at; ahead of the image's by what is still missing. */
  #announced: number
  #answering = false
  /** Received messages and waiting runs are worked on one at a time. */
  readonly #turns = new Queue()
  #appended: string[] = []
  #verifyingBytes = 0
  #bytesSent: number
  #committing: Promise<unknown> = Promise.resolve()
  #inputEnded = false
  #failure: VarveError | null = null
  readonly #pumpWakes = new Wakes()
  readonly #wakes = new Wakes()

  constructor(options: UploadOptions) {
    this.#options = options
    this.#backlog = new Backlog((items) => options.memory.items(items))
    const { upload, store, chunkBytes } = options
    const base = upload.hasBase
      ? new BaseImage({
          read: store.nodes.cached,
          root: upload.baseRoot,
          size: upload.size,
          chunkBytes,
          onDamaged: async (error) => void (await store.quarantine.enterError(error)),
        })
      : null
    this.#base = base
    this.#image = new GrowingImage({ ...options, base })
    this.#announced = this.#image.position
    this.#bytesSent = upload.bytesSent
  }

  /**
   * Runs the upload to its end; resolves with the root once the whole image is durable. Nothing of it is committed after a
   * failure was reported.
   */
  async run(messages: AsyncIterable<Received<Upward>>, send: Send): Promise<{ root: Ref }> {
    const { proofKey, signal } = this.#options
    signal.throwIfAborted()
    const onAbort = (): void => this.#fail(signal.reason)
    signal.addEventListener('abort', onAbort)
    using _held = this.#options.store.references.hold({ ids: () => this.#backlog.ids() })
    try {
      await send([DOWN.start, { position: this.#image.position, proofKey }])
      this.#options.memory.open()
      const [root] = await Promise.all([this.#pump(send), this.#read(messages, send)])
      return { root }
    } catch (thrown) {
      this.#fail(thrown)
      await this.#committing.catch(() => {})
      throw this.#failure ?? thrown
    } finally {
      signal.removeEventListener('abort', onAbort)
    }
  }

  #fail(thrown: unknown): void {
    this.#failure ??= asVarveError(thrown)
    this.#wake()
  }

  #wake(): void {
    this.#pumpWakes.wake()
    this.#wakes.wake()
  }

  #check(): void {
    if (this.#failure !== null) throw this.#failure
  }

  async #read(messages: AsyncIterable<Received<Upward>>, send: Send): Promise<void> {
    const { memory } = this.#options
    try {
      for await (const { message, bytes } of messages) {
        this.#check()
        memory.read(bytes)
        if (message[0] === UP.chunks) await this.#turns.run(() => this.#onChunks(message[1], message[2], bytes))
        else {
          await this.#turns.run(() => this.#take(message, send))
          memory.done(bytes)
        }
        this.#pumpWakes.wake()
      }
      // runs that wait for room get it eventually, unless the ones before them lack chunks that will never come
      await this.#until(() => this.#verifyingBytes === 0 && (this.#backlog.waiting === 0 || this.#asked.open > 0))
      if (this.#asked.open > 0)
        throw new VarveError('IMAGE_INCOMPLETE', `the upload ended with ${this.#asked.open} chunks missing`)
      this.#inputEnded = true
      this.#pumpWakes.wake()
    } catch (thrown) {
      this.#fail(thrown)
      throw thrown
    }
  }

  async #take(message: Exclude<Upward, [typeof UP.chunks, ...unknown[]]>, send: Send): Promise<void> {
    if (message[0] === UP.proofs) return send([DOWN.verdicts, await this.#onProofs(message[1])])
    this.#backlog.add(batchOfRuns(message[1]))
    return this.#answerWaiting(send)
  }

  /** Answers waiting runs as far as there is room for them; in a turn of its own. */
  async #answerWaiting(send: Send): Promise<void> {
    for (let batch = this.#backlog.answerable; batch !== null; batch = this.#backlog.answerable) {
      this.#check()
      const answers = await this.#onRuns(batch)
      this.#backlog.answered()
      this.#wake()
      await send([DOWN.answers, answers])
    }
  }

  /** Answers the runs that wait for room, after some was made. */
  #answerLater(send: Send): void {
    if (this.#answering || this.#backlog.answerable === null) return
    this.#answering = true
    const answer = async (): Promise<void> => {
      await this.#answerWaiting(send)
      this.#answering = false
    }
    this.#turns.run(answer).catch((error: unknown) => this.#fail(error))
  }

  async #onRuns(batch: RunBatch): Promise<Uint8Array> {
    const { store, upload, chunkBytes } = this.#options
    const zeroId = (length: number): Uint8Array => store.zeroId(length)
    const disk = { size: upload.size, chunkBytes, zeroId }
    const { announced, end } = announcedIn(batch, this.#announced, disk)
    this.#announced = end
    this.#bytesSent += announced.length * ID_BYTES
    const ids = announced.map(({ id }) => id)
    const lengths = announced.map(({ length }) => length)
    batch.absentAt = store.arrivals.mark
    const known = await store.have(ids, upload.machine, lengths)
    const answers = new Uint8Array(ids.length)
    const whole = { batch, length: chunkBytes }
    for (const [index, { id, position, length }] of announced.entries()) {
      const asked = length === chunkBytes ? whole : { batch, length }
      if (known[index] === HAVE.own) answers[index] = ANSWER.have
      else if (known[index] === HAVE.misfit) throw wrongLength(length)
      else if (known[index] === HAVE.absent) answers[index] = this.#asked.want(id, asked)
      else if (await this.#base?.holds(id, position)) answers[index] = ANSWER.have
      else answers[index] = this.#asked.prove(id, asked)
    }
    return answers
  }

  async #onChunks(table: Uint8Array, stored: Uint8Array, bytes: number): Promise<void> {
    const { memory } = this.#options
    memory.work(bytes)
    // the received frame goes to the record thread with the stored bytes
    const heads = ownBytes(table)
    const bundles = readHeads(heads)
    const taken = bundles
      .flatMap(({ parts }) => parts)
      .map(({ id, plainLength }) => ({ name: idName(id), asked: this.#asked.takeWanted(id, plainLength) }))
    if (stored.length > UPLOAD_STORED_BYTES_MAX && bundles.length > 1)
      throw new VarveError(
        'UPLOAD_INVALID',
        `a message of chunks has ${stored.length} bytes, at most ${UPLOAD_STORED_BYTES_MAX} are allowed`,
      )
    this.#bytesSent += stored.length
    const cost = Math.max(stored.length, VERIFYING_COST_MIN)
    await this.#until(() => this.#verifyingBytes === 0 || this.#verifyingBytes + cost <= VERIFYING_BYTES_MAX)
    this.#verifyingBytes += cost
    // not awaited: the next message is read while this one is verified and written
    void this.#append({ heads, stored }, taken, cost).then(() => memory.done(bytes, bytes))
  }

  async #append(batch: ChunkBatch, taken: readonly { name: string; asked: Asked }[], cost: number): Promise<void> {
    const bytes = batch.stored.length
    try {
      const absentAt = Math.min(...taken.map(({ asked }) => asked.batch.absentAt))
      await this.#options.writer.append(batch, absentAt)
      for (const { name, asked } of taken) {
        this.#appended.push(name)
        asked.batch.missing--
      }
      this.#image.stored(bytes)
    } catch (thrown) {
      this.#fail(thrown)
    } finally {
      this.#verifyingBytes -= cost
      this.#wake()
    }
  }

  /** One verdict per proof: `have` when it is right, `want` when our own copy is damaged; a wrong one ends the upload. */
  async #onProofs(proofs: readonly (readonly [Uint8Array, Uint8Array])[]): Promise<Uint8Array> {
    const { store, proofKey } = this.#options
    const asked = proofs.map(([id]) => this.#asked.takeToProve(id))
    this.#bytesSent += proofs.length * 2 * ID_BYTES
    const ids = proofs.map(([id]) => id)
    const expected = await store.prove(ids, proofKey)
    return Uint8Array.from(proofs, ([id, proof], index) => {
      const right = expected[index] ?? null
      if (right === null) {
        this.#asked.wantInstead(id, asked[index]!)
        return ANSWER.want
      }
      if (!equalBytes(right, proof)) throw new VarveError('PROOF_INVALID', 'a proof of possession is wrong')
      asked[index]!.batch.missing--
      return ANSWER.have
    })
  }

  /** Places finished batches in the image and commits now and then; the only place that lets it grow. */
  async #pump(send: Send): Promise<Ref> {
    const { clock } = this.#options
    let committedMs = clock.elapsed()
    while (true) {
      this.#check()
      await this.#placeHead(send)
      if (this.#inputEnded && this.#backlog.ahead === 0) break
      const waitedMs = clock.elapsed() - committedMs
      const { progressed } = this.#image
      if (this.#mustCommit || (progressed && waitedMs >= COMMIT_INTERVAL_MS)) {
        await this.#commit(null)
        committedMs = clock.elapsed()
        await send([DOWN.durable, this.#image.position])
      } else if (this.#backlog.placeable === null)
        await this.#pumpWakes.next(clock, progressed ? COMMIT_INTERVAL_MS - waitedMs : null)
    }
    const root = this.#image.finish()
    await this.#commit({ root })
    return root
  }

  get #mustCommit(): boolean {
    return this.#image.uncommittedBytes >= COMMIT_BYTES || this.#backlog.placedItems >= COMMIT_ITEMS
  }

  async #placeHead(send: Send): Promise<void> {
    const head = this.#backlog.placeable
    if (head === null) return
    await this.#image.place(head)
    this.#backlog.placed()
    this.#answerLater(send)
  }

  async #commit(finished: { root: Ref } | null): Promise<void> {
    this.#check()
    const [names, batches] = [this.#appended, this.#backlog.uncommitted]
    this.#appended = []
    const { memory, onProgress } = this.#options
    const commit = this.#image.commit(this.#bytesSent, finished)
    this.#committing = finished === null && this.#backlog.waiting === 0 ? commit : memory.during(commit)
    await this.#committing
    this.#backlog.committed(batches)
    this.#asked.indexed(names)
    onProgress()
  }

  #until(condition: () => boolean): Promise<void> {
    return this.#wakes.until(condition, () => this.#check())
  }
}
