// Writes one disk of one upload: checks chunks, appends them and tree nodes to packs, and commits both with the upload's
// progress.
import type { Tenant } from '../catalog/tenants.ts'
import type { NewRecord, UploadProgress } from '../catalog/records.ts'
import { readHeads } from '../../protocol/chunk-list.ts'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import type { NewNode } from '../../protocol/image-tree.ts'
import { freeBytes, ownsBuffer } from '../../protocol/memory.ts'
import type { Catalog } from '../catalog/catalog.ts'
import { failpoint } from '../common/failpoint.ts'
import { Queue, type Limiter } from '../../protocol/host/limiter.ts'
import type { DatastoreLog } from '../common/log.ts'
import type { PackPool } from '../packs/pack-pool.ts'
import type { References } from '../coordination/coordination.ts'
import { PackWriter } from '../packs/pack-writer.ts'
import type { Arrivals } from './arrivals.ts'
import type { Space } from './space.ts'
import { idName, joinIds, ownBytes, splitIds } from '../../protocol/host/bytes.ts'
import { encodeNodes, onlyFresh, PendingRecords } from '../packs/pending-records.ts'
import { recordsOf, type EncodedBatch } from '../packs/record-work.ts'
import type { RecordPool } from '../packs/record-pool.ts'

/** Largest buffer of one batch of chunks, in bytes. */
export const BATCH_BYTES_MAX = 16 * 1024 * 1024

/** Most chunks of one batch. */
export const BATCH_CHUNKS_MAX = 4096

/** Appended bytes after which a writer records them in the index by itself, without progress. */
const PENDING_BYTES_MAX = 256 * 1024 * 1024

/** Nodes collected before they are appended without waiting for a commit. */
const NODES_WAITING_MAX = 1024

/** Chunks as received. */
export interface ChunkBatch {
  /** The table of their heads, in a buffer of its own. */
  readonly heads: Uint8Array
  /** Their stored bytes one behind the other; a large buffer is taken and empty afterwards. */
  readonly stored: Uint8Array
}

export type ImageProgress = Omit<UploadProgress, 'job' | 'disk'>

export interface UploadWriterOptions {
  readonly tenant: Tenant
  readonly job: string
  readonly disk: string
  /** Name of the machine. */
  readonly machine: string
  readonly catalog: Catalog
  readonly packs: PackPool
  readonly recordPool: RecordPool
  /** Bounds the bytes that all writers of the datastore check and append at once. */
  readonly limiter: Limiter
  /** Called with every id that the writer finds in the index or adds to it. */
  readonly references: References
  readonly arrivals: Arrivals
  /** Quota and reserve that limit the appends. */
  readonly space: Space
  readonly log: DatastoreLog
  readonly onClose: () => void
}

export class UploadWriter implements AsyncDisposable {
  readonly #options: UploadWriterOptions
  readonly #data: PackWriter
  readonly #nodes: PackWriter
  readonly #appends = new Queue()
  readonly #commits = new Queue()
  readonly #underWay = new Set<Promise<void>>()
  #nodesWaiting: NewNode[] = []
  #pending = new PendingRecords()
  #committing: PendingRecords | null = null
  /**
   * Ids that were looked up in the index and that the durable state does not refer to yet: those since the last commit and those
   * of the commit under way, packed.
   */
  #relied: Uint8Array[] = []
  #settling: Uint8Array[] = []
  readonly #held: Disposable
  readonly #open: Disposable
  #failure: VarveError | null = null
  #closed: Promise<void> | null = null
  #storedBytes = 0

  constructor(options: UploadWriterOptions) {
    const { packs: pool, tenant, space } = options
    this.#options = options
    this.#data = new PackWriter({ pool, tenant, kind: 'data', room: space })
    this.#nodes = new PackWriter({ pool, tenant, kind: 'nodes', room: space })
    this.#held = options.references.hold({ ids: () => this.#ids() })
    this.#open = options.arrivals.open()
  }

  /** Bytes newly stored by this writer's commits so far, record headers included. */
  get storedBytes(): number {
    return this.#storedBytes
  }

  /**
   * Checks a batch on the record threads and appends what is new; resolves when it is in a pack, durable after the next commit.
   * Batches given together may finish in any order; further ones wait past a bound of bytes. CHUNK_INVALID names a chunk that
   * does not match its id or lengths and leaves the writer usable; UPLOAD_INVALID, TOO_MANY_REQUESTS; after STORE_FULL,
   * STORE_FAILED or QUOTA_EXCEEDED the writer is unusable. `absentAt` is the mark of `arrivals` when the index had none of them;
   * they are looked up where it is absent, and where another upload may have brought one since.
   */
  append(batch: ChunkBatch, absentAt: number | null = null): Promise<void> {
    const appended = this.#append(batch, absentAt)
    this.#underWay.add(appended)
    const settled = (): void => void this.#underWay.delete(appended)
    appended.then(settled, settled)
    return appended
  }

  /** Adds finished tree nodes; the next commit writes them at the latest, unless the index has them. */
  addNodes(nodes: readonly NewNode[]): void {
    this.#check()
    this.#nodesWaiting.push(...nodes)
    if (this.#nodesWaiting.length < NODES_WAITING_MAX) return
    this.#appends.run(() => this.#writeNodes()).catch((error: unknown) => this.#fail(error))
  }

  /**
   * Makes durable, in this order: pack bytes, then in one transaction index rows, pack lengths and the upload's row. Covers every
   * append that resolved and every node that was added before the call. Returns the bytes newly stored. After a failure
   * (STORE_FULL, STORE_FAILED, QUOTA_EXCEEDED, JOB_ENDED) the writer is unusable and nothing of the commit is there.
   */
  commit(progress: ImageProgress): Promise<number> {
    return this.#commits.run(() => this.#commit(progress))
  }

  /** Records what was checked and appended, without progress, so that a resumed upload finds it; then releases the packs. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  async #append({ heads: table, stored }: ChunkBatch, absentAt: number | null): Promise<void> {
    this.#check()
    const heads = readHeads(table)
    if (stored.length > BATCH_BYTES_MAX || heads.length > BATCH_CHUNKS_MAX)
      throw new VarveError('UPLOAD_INVALID', 'a batch of chunks is larger than allowed')
    const { idKey, chunkBytes } = this.#options.tenant
    await this.#options.limiter.run(stored.length, async () => {
      this.#check()
      const moved = ownsBuffer(stored) ? stored : ownBytes(stored)
      const buffer = await this.#options.recordPool.ingest({ heads: table, stored: moved, idKey, chunkBytes })
      await this.#write(this.#data, { buffer, records: recordsOf(heads) }, absentAt)
    })
    if (this.#pending.bytes > PENDING_BYTES_MAX) await this.#commits.run(() => this.#commit(null))
  }

  async #write(writer: PackWriter, batch: EncodedBatch, absentAt: number | null): Promise<void> {
    try {
      const missing = await this.#missing(batch, absentAt)
      await this.#appends.run(() => this.#place(writer, missing))
    } catch (error) {
      throw this.#fail(error)
    } finally {
      freeBytes(batch.buffer)
    }
  }

  /** The batch without records all of which the index has: a racing upload may have brought it since the caller asked. */
  async #missing(batch: EncodedBatch, absentAt: number | null = null): Promise<EncodedBatch> {
    const ids = batch.records.flatMap(({ parts }) => parts.map(({ id }) => id))
    const { catalog, tenant, references, arrivals } = this.#options
    // before the look-up: a collection may begin before its answer arrives
    const joined = joinIds(ids)
    this.#relied.push(joined)
    await references.touch(ids)
    if (absentAt !== null && !arrivals.mayHave(absentAt, ids)) return batch
    const indexed = await catalog.records.indexed({ tenant: tenant.id, ids: joined })
    let from = 0
    return onlyFresh(batch, ({ parts }) => indexed.subarray(from, (from += parts.length)).includes(0))
  }

  async #place(writer: PackWriter, batch: EncodedBatch): Promise<void> {
    this.#check()
    const seen = new Set<string>()
    const fresh = onlyFresh(batch, ({ parts }) => {
      const names = parts.map(({ id }) => idName(id)).filter((name) => !seen.has(name) && !this.#isPending(name))
      for (const name of names) seen.add(name)
      return names.length > 0
    })
    if (fresh.records.length === 0) return
    const { pack, offset } = await writer.append(fresh.buffer)
    for (const record of fresh.records) this.#pending.add({ ...record, pack, offset: offset + record.offset })
  }

  #isPending(name: string): boolean {
    return this.#pending.has(name) || this.#committing?.has(name) === true
  }

  async #writeNodes(): Promise<void> {
    for (let nodes = this.#takeNodes(); nodes.length > 0; nodes = this.#takeNodes())
      await this.#place(this.#nodes, await this.#missing(encodeNodes(nodes)))
  }

  #takeNodes(): NewNode[] {
    return this.#nodesWaiting.splice(0, NODES_WAITING_MAX)
  }

  async #commit(progress: ImageProgress | null): Promise<number> {
    this.#check()
    try {
      const { records, data, nodes } = await this.#appends.run(async () => {
        await this.#writeNodes()
        const records = this.#pending
        this.#committing = records
        this.#pending = new PendingRecords()
        if (progress !== null) this.#settling = this.#relied.splice(0)
        return { records, data: this.#data.checkpoint(), nodes: this.#nodes.checkpoint() }
      })
      await Promise.all([this.#data.sync(data), this.#nodes.sync(nodes)])
      failpoint('index.commit')
      const packs = [...data.packs, ...nodes.packs]
      const storedBytes = await this.#record(
        records,
        packs.map(({ held, bytes, sealed }) => ({ id: held.id, bytes, sealed })),
        progress,
      )
      this.#committing = null
      if (progress !== null) this.#settling = []
      await this.#data.acknowledged(data)
      await this.#nodes.acknowledged(nodes)
      this.#storedBytes += storedBytes
      return storedBytes
    } catch (error) {
      throw this.#fail(error)
    }
  }

  async #record(
    pending: PendingRecords,
    packs: { id: number; bytes: number; sealed: boolean }[],
    progress: ImageProgress | null,
  ): Promise<number> {
    const { catalog, tenant, machine, job, disk, references, arrivals } = this.#options
    const ids: Uint8Array[] = []
    const records: NewRecord[] = []
    for (const { pack, offset, storedLength, codec, type, parts } of pending.records)
      for (const [place, { id, plainLength }] of parts.entries()) {
        ids.push(id)
        records.push({ pack, offset, storedLength, plainLength, codec, type, parts: parts.length, place })
      }
    await references.touch(ids)
    arrivals.note(ids)
    return catalog.records.commit({
      tenant: tenant.id,
      machine,
      ids: joinIds(ids),
      records,
      packs,
      upload: { job, disk },
      progress: progress && {
        ...progress,
        state: ownBytes(progress.state),
        root: progress.root && ownBytes(progress.root),
      },
    })
  }

  async #close(): Promise<void> {
    const { log, onClose } = this.#options
    await Promise.allSettled(this.#underWay)
    await this.#commits.idle()
    if (this.#failure === null && (this.#pending.records.length > 0 || this.#nodesWaiting.length > 0)) {
      const kept = this.#commits.run(() => this.#commit(null))
      await kept.catch((error: unknown) => log.warn({ err: error }, 'the end of an upload was not kept'))
    }
    this.#failure ??= new VarveError('JOB_ENDED', 'the upload is closed')
    await this.#appends.idle()
    try {
      await this.#data[Symbol.asyncDispose]()
      await this.#nodes[Symbol.asyncDispose]()
    } finally {
      this.#held[Symbol.dispose]()
      this.#open[Symbol.dispose]()
      onClose()
    }
  }

  *#ids(): Generator<Uint8Array> {
    for (const { records } of [this.#pending, ...(this.#committing === null ? [] : [this.#committing])])
      for (const { parts } of records) for (const { id } of parts) yield id
    for (const ids of [...this.#relied, ...this.#settling]) yield* splitIds(ids)
  }

  #check(): void {
    if (this.#failure !== null) throw this.#failure
  }

  #fail(thrown: unknown): VarveError {
    const error = asVarveError(thrown, 'STORE_FAILED')
    this.#failure ??= error
    return error
  }
}
