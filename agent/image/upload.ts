// Uploads one leased disk: map → segments → read and hash → ask → compress → send, each step ahead of the next within bounds.
import { ID_BYTES } from '../../protocol/chunk.ts'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { ANSWER, DOWN, RUN, UP, type Down, type Up, type WireChunk } from '../../protocol/methods.ts'
import type { OpenCall, Peer } from '../../protocol/peer.ts'
import type { LeasedDisk } from '../lease/lease.ts'
import { NbdClient } from '../nbd/client.ts'
import { ALLOCATION_CONTEXT, diskExtents } from '../nbd/extents.ts'
import { PICK, type PreparedChunk } from './messages.ts'
import { chunkRuns, segments, type Segment } from './segments.ts'
import type { Throttle } from './throttle.ts'
import { ImageWorkers } from './workers.ts'

/** Plain bytes of segments that are read and not yet sent or found to be known: the upload's memory. */
const IN_FLIGHT_BYTES_MAX = 64 * 1024 * 1024

/** Segments under way, so that many with nothing to read are bounded too. */
const IN_FLIGHT_SEGMENTS_MAX = 64

/** zstd level of chunks. */
const COMPRESSION_LEVEL = 1

/** Unchanged gaps that are asked about together with the changes around them, in bytes. */
const BRIDGE_BYTES = 16 * 1024 * 1024

export interface UploadRequest {
  readonly peer: Peer
  readonly job: string
  readonly disk: LeasedDisk
  readonly chunkBytes: number
  readonly idKey: Uint8Array
  readonly throttle: Throttle
  readonly signal: AbortSignal
  /** Told of plain bytes as they are read. */
  readonly onRead: (bytes: number) => void
}

interface UnderWay {
  readonly number: number
  readonly segment: Segment
  readonly bytes: number
  ids: Uint8Array
  /** Reads that were not zero, in order: what the gateway answers, by index into the segment's reads. */
  asked: number[]
}

type Message = Up<'image.upload'>

const runsMessage = (segment: Segment, ids: Uint8Array, zero: Uint8Array): { message: Message; asked: number[] } => {
  const runs: (typeof RUN.zero | typeof RUN.keep | typeof RUN.ids)[] = []
  const counts: number[] = []
  const asked: number[] = []
  const add = (kind: (typeof runs)[number], count: number): void => {
    if (runs.at(-1) === kind) counts[counts.length - 1]! += count
    else {
      runs.push(kind)
      counts.push(count)
    }
  }
  let read = 0
  for (const { kind, count } of segment.runs) {
    if (kind !== 'read') {
      add(kind === 'zero' ? RUN.zero : RUN.keep, count)
      continue
    }
    const end = read + count
    for (; read < end; read++) {
      if (zero[read] === 1) add(RUN.zero, 1)
      else {
        add(RUN.ids, 1)
        asked.push(read)
      }
    }
  }
  let from = 0
  const message = runs.map((kind, index): Extract<Message, [typeof UP.runs, unknown]>[1][number] => {
    const count = counts[index]!
    if (kind !== RUN.ids) return [kind, count]
    const bytes = new Uint8Array(count * ID_BYTES)
    for (let at = 0; at < count; at++) bytes.set(idAt(ids, asked[from++]!), at * ID_BYTES)
    return [RUN.ids, bytes]
  })
  return { message: [UP.runs, message], asked }
}

const idAt = (ids: Uint8Array, index: number): Uint8Array => ids.subarray(index * ID_BYTES, (index + 1) * ID_BYTES)

class ImageUpload {
  readonly #request: UploadRequest
  readonly #workers: ImageWorkers
  readonly #call: OpenCall<'image.upload'>
  #proofKey: Uint8Array = new Uint8Array(0)
  #inFlightBytes = 0
  #inFlight = 0
  /** Segments whose answers, or whose proofs' verdicts, are still to come, in the order they were asked. */
  readonly #answers: UnderWay[] = []
  readonly #verdicts: { way: UnderWay; proved: readonly number[] }[] = []
  readonly #tasks = new Set<Promise<void>>()
  /** Aborts on the first failure, so that nothing waits for bandwidth that will not be used. */
  readonly #failed = new AbortController()
  #ended = false
  #failure: VarveError | null = null
  #wake: () => void = () => {}

  constructor(request: UploadRequest, workers: ImageWorkers, call: OpenCall<'image.upload'>) {
    this.#request = request
    this.#workers = workers
    this.#call = call
  }

  async run(extents: Parameters<typeof chunkRuns>[0]): Promise<void> {
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
      await this.#sendSegments(extents, position)
      await this.#until(() => this.#inFlight === 0)
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
  async #sendSegments(extents: Parameters<typeof chunkRuns>[0], from: number): Promise<void> {
    const { chunkBytes } = this.#request
    let asked = Promise.resolve()
    let number = 0
    for await (const segment of segments(chunkRuns(extents, chunkBytes), { from, chunkBytes })) {
      const bytes = this.#plainBytes(segment)
      await this.#until(() => this.#roomFor(bytes))
      this.#inFlight++
      this.#inFlightBytes += bytes
      const way: UnderWay = { number: number++, segment, bytes, ids: new Uint8Array(0), asked: [] }
      const hashed = segment.reads === 0 ? null : this.#workers.read(way.number, segment.runs)
      const before = asked
      asked = Promise.all([before, hashed]).then(([, hash]) => this.#ask(way, hash))
      asked.catch((error: unknown) => this.#fail(error))
    }
    await asked
  }

  /** Bytes to read of a segment; the disk's last chunk may be short. */
  #plainBytes({ runs }: Segment): number {
    const { chunkBytes, disk } = this.#request
    const reads = runs.filter(({ kind }) => kind === 'read')
    return reads.reduce(
      (sum, { position, count }) => sum + Math.min(count * chunkBytes, disk.size - position * chunkBytes),
      0,
    )
  }

  #roomFor(bytes: number): boolean {
    if (this.#inFlight === 0) return true
    return this.#inFlight < IN_FLIGHT_SEGMENTS_MAX && this.#inFlightBytes + bytes <= IN_FLIGHT_BYTES_MAX
  }

  async #ask(way: UnderWay, hashed: Awaited<ReturnType<ImageWorkers['read']>> | null): Promise<void> {
    const { message, asked } = runsMessage(way.segment, hashed?.ids ?? way.ids, hashed?.zero ?? new Uint8Array(0))
    way.ids = hashed?.ids ?? way.ids
    way.asked = asked
    this.#request.onRead(way.bytes)
    this.#answers.push(way)
    await this.#call.send(message)
  }

  async #receive(messages: AsyncIterable<Down<'image.upload'>>): Promise<void> {
    try {
      for await (const message of messages) {
        if (message[0] === DOWN.answers) this.#onAnswers(message[1])
        else if (message[0] === DOWN.verdicts) this.#onVerdicts(message[1])
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
      throw new VarveError('STREAM_INVALID', 'the gateway answered what was not asked')
    const picks = new Uint8Array(way.segment.reads)
    for (const [at, index] of way.asked.entries())
      picks[index] = answers[at] === ANSWER.want ? PICK.send : answers[at] === ANSWER.prove ? PICK.prove : PICK.none
    this.#start(way, picks)
  }

  #onVerdicts(verdicts: Uint8Array): void {
    const waiting = this.#verdicts.shift()
    if (waiting === undefined || verdicts.length !== waiting.proved.length)
      throw new VarveError('STREAM_INVALID', 'the gateway judged what was not proved')
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
      const { chunks, proofs } = await this.#workers.prepare(way.number, picks, this.#proofKey)
      if (chunks.length > 0) await this.#sendChunks(way, chunks)
      if (proofs.length > 0) {
        this.#verdicts.push({ way, proved: proofs.map(({ index }) => index) })
        await this.#call.send([UP.proofs, proofs.map(({ index, proof }) => [idAt(way.ids, index), proof])])
        return
      }
    }
    if (way.segment.reads > 0) this.#workers.drop(way.number)
    this.#inFlight--
    this.#inFlightBytes -= way.bytes
    this.#wake()
  }

  async #sendChunks(way: UnderWay, chunks: readonly PreparedChunk[]): Promise<void> {
    // plain bytes that do not compress are as large as the segment, which a frame always holds
    const wire = chunks.map(({ index, codec, plainLength, stored }): WireChunk => [
      idAt(way.ids, index),
      codec,
      plainLength,
      stored,
    ])
    const bytes = chunks.reduce((sum, { stored }) => sum + stored.length, 0)
    await this.#request.throttle.take(bytes, this.#failed.signal)
    await this.#call.send([UP.chunks, wire])
  }

  async #until(condition: () => boolean): Promise<void> {
    while (!condition()) {
      if (this.#failure !== null) throw this.#failure
      await new Promise<void>((resolve) => (this.#wake = resolve))
    }
    if (this.#failure !== null) throw this.#failure
  }

  #fail(thrown: unknown): void {
    this.#failure ??= asVarveError(thrown)
    this.#failed.abort(this.#failure)
    this.#wake()
  }
}

/** Uploads a disk from wherever the gateway has it durable; resolves when all of it is. */
export const uploadImage = async (request: UploadRequest): Promise<void> => {
  const { peer, job, disk, chunkBytes, idKey, signal } = request
  const { socketPath, exportName, size, dirtyContext } = disk
  await using resources = new AsyncDisposableStack()
  const connect = async (contexts: string[]): Promise<NbdClient> =>
    resources.use(await NbdClient.connect({ socketPath, exportName, contexts }))
  const allocation = await connect([ALLOCATION_CONTEXT])
  const dirty = dirtyContext === null ? null : { client: await connect([dirtyContext]), context: dirtyContext }
  const setup = { socketPath, exportName, size, chunkBytes, idKey, level: COMPRESSION_LEVEL }
  const workers = resources.use(new ImageWorkers(setup, { multiConn: allocation.flags.multiConn }))
  const call = peer.open('image.upload', { job, disk: disk.name }, { signal })
  const upload = new ImageUpload(request, workers, call)
  await upload.run(diskExtents({ allocation, dirty, size, bridgeBytes: BRIDGE_BYTES }))
}
