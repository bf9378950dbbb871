// Uploads one image: map → segments → read and hash → ask → compress → send, each step ahead of the next within bounds.
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { ANSWER, DOWN, UP, type Down } from '../../protocol/methods.ts'
import { freeBytes } from '../../protocol/memory.ts'
import type { OpenCall, Peer } from '../../protocol/peer.ts'
import type { Pace } from '../pace.ts'
import type { Framed } from '../../protocol/host/chunk-steps.ts'
import { PICK, type Hashed, type Prepared } from './messages.ts'
import { chunkRuns, segments, type Segment } from './segments.ts'
import { runsMessage } from './runs-message.ts'
import type { Throttle } from '../../protocol/host/throttle.ts'
import { idAt } from '../../protocol/host/bytes.ts'
import type { ImageWorkers } from './workers.ts'

/** Plain bytes that are being read, or are held until the gateway says which it wants, for each thread: the upload's memory. */
const HELD_BYTES_PER_THREAD = 12 * 1024 * 1024

/**
 * Runs and chunks that are under way: at the usual chunk size those of 1 GiB, as unchanged bytes wait for nothing but an
 * answer.
 */
const IN_FLIGHT_ITEMS_MAX = 16 * 1024

/** Bytes are let go once they are hashed while less than this share of the chunks asked about lately was wanted. */
const WANTED_SHARE_MIN = 1 / 8

/** How much the latest answer changes what is taken for the wanted share. */
const WANTED_SHARE_WEIGHT = 1 / 4

/** What every upload needs. */
export interface UploadOptions {
  readonly peer: Peer
  readonly job: string
  readonly chunkBytes: number
  readonly idKey: Uint8Array
  readonly throttle: Throttle
  readonly signal: AbortSignal
  /** Counts where its time goes. */
  readonly pace: Pace
  /** Told of plain bytes as they are read. */
  readonly onRead: (bytes: number) => void
  /** Told of stored bytes as they are sent. */
  readonly onSent?: (bytes: number) => void
  /** Told of chunks that the gateway has durable from the image's beginning on, which it will not ask for again. */
  readonly onDurable?: (chunks: number) => void
  /** Told once, when the upload fails: its extents need not be waited for. */
  readonly onFailed?: () => void
  /** A limit for what is read of the image. */
  readonly readThrottle?: Throttle
}

/** What is uploaded; `size` is bytes. */
interface Image {
  readonly name: string
  readonly size: number
}

/** Who reads the segments of one image, as ImageWorkers do. */
export type Segments = Pick<ImageWorkers, 'count' | 'read' | 'prepare' | 'drop'>

/** The map of an image; what lies before this chunk is durable already, and not looked at again. */
export type ExtentsFrom = (position: number) => Parameters<typeof chunkRuns>[0]

interface UnderWay {
  readonly number: number
  readonly segment: Segment
  /** Plain bytes to read. */
  readonly bytes: number
  /** Those of them that take room just now. */
  heldBytes: number
  ids: Uint8Array
  /** Reads that were not zero, in order: what the gateway answers, by index into the segment's reads. */
  asked: number[]
}

const itemsOf = ({ runs, reads }: Segment): number => runs.length + reads

class ImageUpload {
  readonly #request: UploadOptions
  readonly #image: Image
  readonly #workers: Segments
  readonly #call: OpenCall<'image.upload'>
  #proofKey: Uint8Array = new Uint8Array(0)
  readonly #heldBytesMax: number
  #heldBytes = 0
  #wantedShare = 1
  #inFlightItems = 0
  /** Segments whose answers, or whose proofs' verdicts, are still to come, in the order they were asked. */
  readonly #answers: UnderWay[] = []
  readonly #verdicts: { way: UnderWay; proved: readonly number[] }[] = []
  readonly #tasks = new Set<Promise<void>>()
  /** Aborts on the first failure, so that nothing waits for bandwidth that will not be used. */
  readonly #failed = new AbortController()
  #ended = false
  #failure: VarveError | null = null
  #waiters: (() => void)[] = []

  constructor(request: UploadOptions, image: Image, workers: Segments) {
    const { peer, job, signal } = request
    this.#request = request
    this.#image = image
    this.#workers = workers
    this.#heldBytesMax = workers.count * HELD_BYTES_PER_THREAD
    this.#call = peer.open('image.upload', { job, disk: image.name }, { signal })
  }

  async run(extentsFrom: ExtentsFrom): Promise<void> {
    const messages = this.#call.messages[Symbol.asyncIterator]()
    const first = await messages.next()
    // a disk that was finished before has a result and no messages
    if (first.done === true) return void (await this.#call.result)
    if (first.value[0] !== DOWN.start) throw new VarveError('STREAM_INVALID', 'an upload begins with its start')
    const { position, proofKey } = first.value[1]
    this.#proofKey = Uint8Array.from(proofKey)
    const receiving = this.#receive({ [Symbol.asyncIterator]: () => messages })
    // it is awaited below; until then its failure must not count as unhandled, which would end the whole agent
    receiving.catch(() => {})
    try {
      this.#request.onDurable?.(position)
      await this.#sendSegments(extentsFrom(position), position)
      await this.#until(() => this.#inFlightItems === 0)
      this.#ended = true
      this.#call.end()
      await Promise.all([this.#call.result, receiving])
    } catch (thrown) {
      this.#fail(thrown)
      this.#call.cancel()
      await receiving.catch(() => {})
      throw this.#failure ?? thrown
    } finally {
      await Promise.allSettled(this.#tasks)
    }
  }

  /** Reads segments as far ahead as there is room; they are asked about in order, each as soon as it is hashed. */
  async #sendSegments(extents: ReturnType<ExtentsFrom>, from: number): Promise<void> {
    const { chunkBytes, pace } = this.#request
    let asked = Promise.resolve()
    let number = 0
    for await (const segment of pace.awaited(segments(chunkRuns(extents, chunkBytes), { from, chunkBytes }))) {
      const bytes = this.#plainBytes(segment)
      const way: UnderWay = { number: number++, segment, bytes, heldBytes: 0, ids: new Uint8Array(0), asked: [] }
      await this.#until(() => this.#inFlightItems < IN_FLIGHT_ITEMS_MAX && this.#takeRoom(way))
      this.#inFlightItems += itemsOf(segment)
      await this.#request.readThrottle?.take(bytes, this.#failed.signal)
      const hashed = segment.reads === 0 ? null : this.#hash(way)
      const before = asked
      asked = Promise.all([before, hashed]).then(([, hash]) => this.#ask(way, hash))
      asked.catch((error: unknown) => this.#fail(error))
    }
    await asked
  }

  /** Bytes to read of a segment; the disk's last chunk may be short. */
  #plainBytes({ runs }: Segment): number {
    const { chunkBytes } = this.#request
    const { size } = this.#image
    const reads = runs.filter(({ kind }) => kind === 'read')
    return reads.reduce(
      (sum, { position, count }) => sum + Math.min(count * chunkBytes, size - position * chunkBytes),
      0,
    )
  }

  /** Takes room for a segment's bytes, if there is any; one segment always has it. */
  #takeRoom(way: UnderWay): boolean {
    if (this.#heldBytes > 0 && this.#heldBytes + way.bytes > this.#heldBytesMax) return false
    this.#heldBytes += way.bytes
    way.heldBytes = way.bytes
    return true
  }

  #giveRoom(way: UnderWay): void {
    this.#heldBytes -= way.heldBytes
    way.heldBytes = 0
    this.#wake()
  }

  async #hash(way: UnderWay): Promise<Hashed> {
    const hold = this.#wantedShare >= WANTED_SHARE_MIN
    const read = (): Promise<Hashed> => this.#workers.read(way.number, way.segment.runs, hold)
    const hashed = await this.#request.pace.working(this.#workers.count, read)
    if (!hold) this.#giveRoom(way)
    return hashed
  }

  async #ask(way: UnderWay, hashed: Hashed | null): Promise<void> {
    const { message, asked } = runsMessage(way.segment, hashed?.ids ?? way.ids, hashed?.zero ?? new Uint8Array(0))
    way.ids = hashed?.ids ?? way.ids
    way.asked = asked
    this.#request.onRead(way.bytes)
    this.#answers.push(way)
    await this.#request.pace.sending(() => this.#call.send(message))
  }

  async #receive(messages: AsyncIterable<Down<'image.upload'>>): Promise<void> {
    try {
      for await (const message of messages) {
        if (message[0] === DOWN.answers) this.#onAnswers(message[1])
        else if (message[0] === DOWN.verdicts) this.#onVerdicts(message[1])
        else if (message[0] === DOWN.durable) this.#request.onDurable?.(message[1])
      }
      if (!this.#ended) throw new VarveError('STREAM_INVALID', 'the gateway ended the upload before the agent did')
    } catch (thrown) {
      this.#fail(thrown)
      throw thrown
    }
  }

  #onAnswers(answers: Uint8Array): void {
    const way = this.#answers.shift()
    if (way === undefined || answers.length !== way.asked.length)
      throw new VarveError('STREAM_INVALID', 'the gateway answered ids that were not asked about')
    const picks = new Uint8Array(way.segment.reads)
    for (const [at, index] of way.asked.entries())
      picks[index] = answers[at] === ANSWER.want ? PICK.send : answers[at] === ANSWER.prove ? PICK.prove : PICK.none
    if (answers.length > 0) {
      const wanted = answers.reduce((sum, answer) => sum + (answer === ANSWER.have ? 0 : 1), 0)
      this.#wantedShare += (wanted / answers.length - this.#wantedShare) * WANTED_SHARE_WEIGHT
    }
    this.#start(way, picks)
  }

  #onVerdicts(verdicts: Uint8Array): void {
    const waiting = this.#verdicts.shift()
    if (waiting === undefined || verdicts.length !== waiting.proved.length)
      throw new VarveError('STREAM_INVALID', 'the gateway judged proofs that were not sent')
    const picks = new Uint8Array(waiting.way.segment.reads)
    for (const [at, index] of waiting.proved.entries()) if (verdicts[at] === ANSWER.want) picks[index] = PICK.send
    this.#start(waiting.way, picks)
  }

  #start(way: UnderWay, picks: Uint8Array): void {
    const task = this.#deliver(way, picks).catch((error: unknown) => this.#fail(error))
    this.#tasks.add(task)
    void task.then(() => this.#tasks.delete(task))
  }

  /** Sends what was picked of a segment, and lets the segment go unless it has proofs out. */
  async #deliver(way: UnderWay, picks: Uint8Array): Promise<void> {
    const picked = picks.some((pick) => pick !== PICK.none)
    if (picked) {
      // bytes that were let go are read again, and take room again
      if (way.heldBytes === 0) await this.#until(() => this.#takeRoom(way))
      const prepare = (): Promise<Prepared> => this.#workers.prepare(way.number, picks, this.#proofKey)
      const { chunks, proofs } = await this.#request.pace.working(this.#workers.count, prepare)
      if (chunks !== null) await this.#request.pace.sending(() => this.#sendChunks(chunks))
      if (proofs.length > 0) {
        this.#verdicts.push({ way, proved: proofs.map(({ index }) => index) })
        await this.#call.send([UP.proofs, proofs.map(({ index, proof }) => [idAt(way.ids, index), proof])])
        return
      }
    }
    if (way.segment.reads > 0) this.#workers.drop(way.number)
    this.#inFlightItems -= itemsOf(way.segment)
    this.#giveRoom(way)
  }

  async #sendChunks({ heads, stored }: Framed): Promise<void> {
    const { length } = stored
    await this.#request.throttle.take(length, this.#failed.signal)
    this.#request.onSent?.(length)
    // bytes that do not compress are as large as the segment, which a frame always holds
    const sent = this.#call.send([UP.chunks, heads, stored])
    // the frame has them now
    freeBytes(stored)
    await sent
  }

  async #until(condition: () => boolean): Promise<void> {
    while (!condition()) {
      if (this.#failure !== null) throw this.#failure
      await new Promise<void>((resolve) => this.#waiters.push(resolve))
    }
    if (this.#failure !== null) throw this.#failure
  }

  #wake(): void {
    for (const wake of this.#waiters.splice(0)) wake()
  }

  #fail(thrown: unknown): void {
    if (this.#failure === null) this.#request.onFailed?.()
    this.#failure ??= asVarveError(thrown)
    this.#failed.abort(this.#failure)
    this.#wake()
  }
}

/** Uploads an image from wherever the gateway has it durable, as it is read by others; resolves when all of it is. */
export const uploadSegments = (
  request: UploadOptions,
  image: Image,
  workers: Segments,
  extentsFrom: ExtentsFrom,
): Promise<void> => request.pace.uploading(() => new ImageUpload(request, image, workers).run(extentsFrom))
