// Makes a datastore with many restore points of one machine, real to the last byte, through the gateway's own writers; a
// program, started by keep-cost.ts.
//
// Usage: node keep-fill.ts DATA TENANT DISK_CHUNKS POINTS CHUNKS_PER_POINT
// The first point holds the whole disk, each further one replaces so many of its chunks in runs of RUN_CHUNKS; no content
// comes twice.
// Prints one line of JSON.
import type { Tenant } from '../../gateway/catalog/tenants.ts'
import type { MachineRow } from '../../gateway/catalog/machines.ts'
import type { Begun } from '../../gateway/catalog/jobs.ts'
import { randomBytes, randomUUID } from 'node:crypto'
import { EMPTY_STATE, encodeState, ImageBuilder } from '../../gateway/chains/image-builder.ts'
import { BaseImage } from '../../gateway/chains/base-image.ts'
import { Datastore } from '../../gateway/datastore/datastore.ts'
import type { UploadWriter } from '../../gateway/datastore/upload-writer.ts'
import { keyedHash } from '../../protocol/host/keyed-hash.ts'
import { manifestOf } from '../../gateway/catalog/manifest.ts'
import type { TenantStore } from '../../gateway/datastore/tenant-store.ts'
import type { ReadKind } from '../../protocol/backup.ts'
import { CHUNK_BYTES_DEFAULT, ID_KEY_BYTES } from '../../protocol/chunk.ts'
import type { Ref } from '../../protocol/image-tree.ts'
import { addAgent, addMachine } from '../gateway/catalog.ts'
import { joinChunks, rawChunk } from '../protocol/wire-chunks.ts'
import { randomBytesOf, randomIntegers } from './random.ts'
import { DISK } from './stand.ts'

const CHUNK_BYTES = CHUNK_BYTES_DEFAULT

/** Chunks behind one another that change together. */
const RUN_CHUNKS = 8

/** Chunks that are checked and appended at once, and after which a long upload commits. */
const BATCH_CHUNKS = 64
const COMMIT_CHUNKS = 512

/** Time between two restore points, in milliseconds. */
const STEP_MS = 60 * 60 * 1000

const SEED = 7

interface Run {
  readonly position: number
  readonly count: number
}

/** Neighbouring runs apart from each other, in order. */
const changedRuns = (integer: (limit: number) => number, diskChunks: number, chunks: number): Run[] => {
  const places = diskChunks / RUN_CHUNKS
  const count = Math.min(places, Math.max(1, Math.round(chunks / RUN_CHUNKS)))
  const chosen = new Set<number>()
  while (chosen.size < count) chosen.add(integer(places))
  return [...chosen].toSorted((a, b) => a - b).map((place) => ({ position: place * RUN_CHUNKS, count: RUN_CHUNKS }))
}

class Filler {
  readonly #datastore: Datastore
  readonly #tenant: Tenant
  readonly #store: TenantStore
  readonly #machine: MachineRow
  readonly #size: number
  readonly #firstMs: number
  #seed = SEED
  #point = 0
  chunks = 0

  constructor(options: { datastore: Datastore; tenant: Tenant; machine: MachineRow; size: number; firstMs: number }) {
    this.#datastore = options.datastore
    this.#tenant = options.tenant
    this.#store = options.datastore.tenantStore(options.tenant)
    this.#machine = options.machine
    this.#size = options.size
    this.#firstMs = options.firstMs
  }

  /** Adds a committed point whose disk has new content in these runs and is as before elsewhere. */
  async add(runs: readonly Run[]): Promise<void> {
    const { catalog } = this.#datastore
    const { name: machine, agent } = this.#machine
    const timeMs = this.#firstMs + this.#point++ * STEP_MS
    const kind: ReadKind = this.#point === 1 ? 'full' : 'incremental'
    const job = randomUUID()
    const of = { tenant: this.#tenant.id, machine, agent }
    await catalog.jobs.start({ ...of, id: job, subject: agent, full: false, compare: false, nowMs: timeMs })
    const begun: Begun = {
      timeMs,
      consistency: 'crash',
      note: null,
      configuration: '{}',
      leftOut: [],
      checkpoint: true,
      missing: [],
    }
    const full = { kind: 'full', reason: 'first', base: null } as const
    const incremental = { kind: 'incremental', reason: 'bitmap', base: DISK } as const
    const read = kind === 'full' ? full : incremental
    const disk = { name: DISK, size: this.#size, ...read, evidence: '', comparedChunks: 0 }
    await catalog.jobs.begin({
      job,
      agent,
      begun,
      disks: [disk],
      state: encodeState(EMPTY_STATE),
      nowMs: begun.timeMs,
    })
    await this.#upload(job, runs)
    const figures = { bytesRead: 0, nowMs: timeMs + 1, lockedUntilMs: null }
    const complete = await catalog.jobs.complete({ job, agent })
    using manifest = await this.#store.writeManifest(manifestOf(complete, figures))
    await catalog.jobs.commit({ job, agent, ...figures, manifest: manifest.id })
  }

  async #upload(job: string, runs: readonly Run[]): Promise<void> {
    const upload = await this.#datastore.catalog.jobs.upload({ job, agent: this.#machine.agent, disk: DISK })
    await using writer = await this.#store.openWriter({ job, disk: DISK, machine: upload.machine })
    const tree = this.#tree(upload, writer)
    const chunks = this.#size / CHUNK_BYTES
    const progress = (finished: boolean, root: Ref) => ({
      position: tree.position,
      state: tree.state,
      bytesSent: 0,
      changedBytes: 0,
      finished,
      root,
    })
    let uncommitted = 0
    for (const { position, count } of runs) {
      if (position > tree.position) await tree.keep(position - tree.position)
      for (let done = 0; done < count; done += BATCH_CHUNKS) {
        const ids = await this.#append(writer, Math.min(BATCH_CHUNKS, count - done))
        for (const id of ids) tree.chunk(id)
        uncommitted += ids.length
        if (uncommitted < COMMIT_CHUNKS) continue
        await writer.commit(progress(false, null))
        uncommitted = 0
      }
    }
    if (tree.position < chunks) await tree.keep(chunks - tree.position)
    const root = tree.finish()
    await writer.commit(progress(true, root))
  }

  #tree({ baseRoot, state }: { baseRoot: Ref; state: Uint8Array }, writer: UploadWriter): ImageBuilder {
    const { cached: read } = this.#store.nodes
    const image = { read, root: baseRoot, size: this.#size, chunkBytes: CHUNK_BYTES }
    const onDamaged = async (error: Error): Promise<void> => {
      throw error
    }
    const base = new BaseImage({ ...image, onDamaged })
    return new ImageBuilder({
      chunks: this.#size / CHUNK_BYTES,
      idKey: this.#tenant.idKey,
      hash: keyedHash,
      state,
      base: (level, position, count) => base.childrenAt(level, position, count),
      onNode: (node) => writer.addNodes([node]),
    })
  }

  /** Appends chunks of new content; their ids. */
  async #append(writer: UploadWriter, count: number): Promise<Uint8Array[]> {
    const bytes = randomBytesOf(this.#seed++, count * CHUNK_BYTES)
    const plains = Array.from({ length: count }, (_, index) =>
      bytes.subarray(index * CHUNK_BYTES, (index + 1) * CHUNK_BYTES),
    )
    const ids = plains.map((plain) => keyedHash(this.#tenant.idKey, plain))
    await writer.append(joinChunks(plains.map((plain, index) => rawChunk(ids[index]!, plain))))
    this.chunks += count
    return ids
  }
}

const main = async (): Promise<object> => {
  const [data = '', tenantName = '', ...numbers] = process.argv.slice(2)
  const [diskChunks = 0, points = 0, perPoint = 0] = numbers.map(Number)
  const quiet = (): void => {}
  await using datastore = await Datastore.open({ folder: data, log: { info: quiet, warn: quiet, error: quiet } })
  const { catalog } = datastore
  const fresh = { name: tenantName, id: randomUUID(), idKey: randomBytes(ID_KEY_BYTES), nowMs: Date.now() }
  const tenant = await catalog.tenants.add({ ...fresh, chunkBytes: CHUNK_BYTES })
  const machine = await addMachine(catalog, tenant, await addAgent(catalog, tenant), 'bench')
  const firstMs = Date.now() - points * STEP_MS
  const filler = new Filler({ datastore, tenant, machine, size: diskChunks * CHUNK_BYTES, firstMs })
  const integer = randomIntegers(SEED)
  const startMs = performance.now()
  await filler.add([{ position: 0, count: diskChunks }])
  for (let point = 1; point < points; point++) await filler.add(changedRuns(integer, diskChunks, perPoint))
  return { points, chunks: filler.chunks, seconds: (performance.now() - startMs) / 1000 }
}

process.umask(0o077)
console.log(JSON.stringify(await main()))
