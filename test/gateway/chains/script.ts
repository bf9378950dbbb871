// An agent by hand: drives one ImageUpload on a real datastore, message by message.
import type { Tenant } from '../../../gateway/catalog/tenants.ts'
import type { MachineRow } from '../../../gateway/catalog/machines.ts'
import { randomBytes } from 'node:crypto'
import { ImageUpload } from '../../../gateway/chains/upload.ts'
import { UploadLoad } from '../../../gateway/chains/upload-load.ts'
import { UploadMemory } from '../../../gateway/chains/upload-memory.ts'
import type { Datastore } from '../../../gateway/datastore/datastore.ts'
import type { PackStoreSpec } from '../../../gateway/packs/open-pack-store.ts'
import { manifestOf } from '../../../gateway/catalog/manifest.ts'
import { keyedHash } from '../../../protocol/host/keyed-hash.ts'
import { equalBytes, hex } from '../../../protocol/chunk.ts'
import type { ReadKind } from '../../../protocol/backup.ts'
import type { Ref } from '../../../protocol/image-tree.ts'
import { ANSWER, DOWN, RUN, UP, type Down, type Up } from '../../../protocol/methods.ts'
import { addAgent, addMachine, beginJob, fullDisk, incrementalDisk, startJob } from '../catalog.ts'
import {
  addTenant,
  CHUNK_BYTES,
  collect,
  openDatastore,
  temporaryFolder,
  type TemporaryFolder,
} from '../datastore/fixture.ts'
import { chunksMessage, wireBundle, wireChunk } from '../../protocol/wire-chunks.ts'
import { HandClock } from '../../support/hand-clock.ts'
import { servedCall, testAccount, withCost } from '../../support/served-call.ts'
import { leaves } from '../../../gateway/trees/leaves.ts'

export type Message = Up<'image.upload'>
export type Runs = Extract<Message, [0, unknown]>[1]

/** What a disk is in a test: a plain chunk per place, null where it is zero. */
export type Plains = readonly (Uint8Array | null)[]

/** Messages pushed by one side and read by the other. */
class Feed<T> implements AsyncIterable<T> {
  readonly #items: T[] = []
  #end: { error: Error | null } | null = null
  #wake: () => void = () => {}

  push(item: T): void {
    this.#items.push(item)
    this.#wake()
  }

  end(error: Error | null = null): void {
    this.#end ??= { error }
    this.#wake()
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    for (;;) {
      if (this.#end !== null && this.#end.error !== null) throw this.#end.error
      const item = this.#items.shift()
      if (item !== undefined) yield item
      else if (this.#end !== null) return
      else await new Promise<void>((resolve) => (this.#wake = resolve))
    }
  }
}

/** One call of image.upload. */
export class Script {
  readonly result: Promise<{ root: Ref }>
  readonly durable: number[] = []
  readonly clock: HandClock
  readonly #up = new Feed<Message>()
  readonly #down = new Feed<Down<'image.upload'>>()
  readonly #received = this.#down[Symbol.asyncIterator]()
  readonly abort = new AbortController()
  /** Commits wait for it. */
  hold: Promise<unknown> = Promise.resolve()
  /** Answers wait for it: the agent takes none before. */
  deaf: Promise<unknown> = Promise.resolve()
  /** Answers that were sent, whether taken or not. */
  answered = 0
  /** What each message takes of the stream's credit, in bytes. */
  cost = 256
  load = new UploadLoad()
  /** Wanted chunks that are sent in one bundle. */
  together = 1
  /** Chunks sent and proofs given. */
  chunks = 0
  proofs = 0

  constructor(stand: Stand, job: { id: string; machine: MachineRow }, clock: HandClock) {
    this.clock = clock
    this.result = this.#run(stand, job)
    // a test looks at the result when it comes to it
    this.result.catch(() => {})
  }

  async #run(
    { datastore, tenant }: Stand,
    { id, machine }: { id: string; machine: MachineRow },
  ): Promise<{ root: Ref }> {
    const { catalog } = datastore
    try {
      const upload = await catalog.jobs.upload({ job: id, agent: machine.agent, disk: 'vda' })
      const store = datastore.tenantStore(tenant)
      await using writer = await store.openWriter({ job: id, disk: 'vda', machine: upload.machine })
      const commit = writer.commit.bind(writer)
      writer.commit = async (progress) => {
        await this.hold
        return await commit(progress)
      }
      const call = { call: servedCall<'image.upload'>(), account: testAccount(), load: this.load }
      using memory = await UploadMemory.admit(call, tenant.chunkBytes, this.abort.signal)
      return await new ImageUpload({
        store,
        writer,
        upload,
        idKey: tenant.idKey,
        chunkBytes: tenant.chunkBytes,
        hash: keyedHash,
        proofKey: randomBytes(32),
        clock: this.clock,
        memory,
        signal: this.abort.signal,
        onProgress: () => {},
      }).run(withCost(this.#up, this.cost), async (message) => {
        if (message[0] === DOWN.answers) {
          this.answered++
          await this.deaf
        }
        if (message[0] === DOWN.durable) this.durable.push(message[1])
        else this.#down.push(message)
      })
    } finally {
      this.#down.end()
    }
  }

  say(message: Message): void {
    this.#up.push(message)
  }

  /** The next message but `durable` ones; throws the upload's error when it has ended. */
  async heard(): Promise<Exclude<Down<'image.upload'>, [3, number]>> {
    const next = await this.#received.next()
    if (next.done === true) {
      await this.result
      throw new Error('the upload has ended')
    }
    return next.value as Exclude<Down<'image.upload'>, [3, number]>
  }

  /** The first message. */
  async started(): Promise<{ position: number; proofKey: Uint8Array }> {
    const message = await this.heard()
    if (message[0] !== DOWN.start) throw new Error('an upload begins with start')
    return message[1]
  }

  /** The answers to a `runs` message, as numbers. */
  async ask(runs: Runs): Promise<number[]> {
    this.say([UP.runs, runs])
    return this.answers()
  }

  async answers(): Promise<number[]> {
    const message = await this.heard()
    if (message[0] !== DOWN.answers) throw new Error(`not answers: ${message[0]}`)
    return [...message[1]]
  }

  async verdicts(): Promise<number[]> {
    const message = await this.heard()
    if (message[0] !== DOWN.verdicts) throw new Error(`not verdicts: ${message[0]}`)
    return [...message[1]]
  }

  end(): void {
    this.#up.end()
  }

  /** The link breaks. */
  break(error: Error): void {
    this.#up.end(error)
  }

  /** Asks about one message of runs and gives what is wanted of it, as an agent does. */
  async deliver(runs: Runs, plains: ReadonlyMap<string, Uint8Array>, proofKey: Uint8Array): Promise<void> {
    const ids = runs.flatMap((run) => (run[0] === RUN.ids ? splitIds(run[1]) : []))
    const answers = await this.ask(runs)
    const plainOf = (id: Uint8Array): Uint8Array => plains.get(hex(id))!
    const wanted = ids.filter((_, index) => answers[index] === ANSWER.want)
    const toProve = ids.filter((_, index) => answers[index] === ANSWER.prove)
    if (toProve.length > 0) {
      this.say([UP.proofs, toProve.map((id) => [id, keyedHash(proofKey, plainOf(id))])])
      this.proofs += toProve.length
      const verdicts = await this.verdicts()
      wanted.push(...toProve.filter((_, index) => verdicts[index] === ANSWER.want))
    }
    if (wanted.length > 0) {
      const bundles = Array.from({ length: Math.ceil(wanted.length / this.together) }, (_, index) =>
        wanted.slice(index * this.together, (index + 1) * this.together),
      )
      const pairs = (some: readonly Uint8Array[]) => some.map((id) => [id, plainOf(id)] as const)
      this.say(chunksMessage(UP.chunks, ...bundles.map((some) => wireBundle(pairs(some)))))
    }
    this.chunks += wanted.length
  }

  /** Sends these chunks, which were wanted. */
  supply(plains: readonly Uint8Array[], stand: Stand, perMessage = 64): void {
    for (let from = 0; from < plains.length; from += perMessage) {
      const chunks = plains.slice(from, from + perMessage).map((plain) => wireChunk(stand.idOf(plain), plain))
      this.say(chunksMessage(UP.chunks, ...chunks))
    }
    this.chunks += plains.length
  }

  /** Resolves once so many chunks are durable; moves the clock along. */
  async committed(chunks: number): Promise<void> {
    while ((this.durable.at(-1) ?? 0) < chunks) {
      this.clock.advance(1000)
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
  }
}

export const splitIds = (bytes: Uint8Array): Uint8Array[] =>
  Array.from({ length: bytes.length / 32 }, (_, index) => bytes.subarray(index * 32, (index + 1) * 32))

export const joinIds = (ids: readonly Uint8Array[]): Uint8Array => Buffer.concat(ids)

/** A datastore with one tenant, and what an upload needs around it. */
const openWith = (folder: string, packsIn?: (folder: string) => PackStoreSpec): Promise<Datastore> =>
  openDatastore(folder, undefined, packsIn === undefined ? {} : { packs: packsIn(folder) })

export class Stand implements AsyncDisposable {
  readonly folder: string
  readonly tenant: Tenant
  /** Chunks that `uploadAll` sends in one bundle. */
  together = 1
  readonly #temporary: AsyncDisposable
  readonly #packsIn: ((folder: string) => PackStoreSpec) | undefined
  #datastore: Datastore

  constructor(
    temporary: TemporaryFolder,
    datastore: Datastore,
    tenant: Tenant,
    packsIn?: (folder: string) => PackStoreSpec,
  ) {
    this.#packsIn = packsIn
    this.folder = temporary.path
    this.tenant = tenant
    this.#temporary = temporary
    this.#datastore = datastore
  }

  get datastore(): Datastore {
    return this.#datastore
  }

  /** `packsIn` says where the packs are, if not in the data folder. */
  static async open(packsIn?: (folder: string) => PackStoreSpec): Promise<Stand> {
    const temporary = await temporaryFolder()
    const datastore = await openWith(temporary.path, packsIn)
    return new Stand(temporary, datastore, await addTenant(datastore, 'acme'), packsIn)
  }

  /** As after a restart of the gateway. */
  async reopen(): Promise<void> {
    await this.#datastore[Symbol.asyncDispose]()
    this.#datastore = await openWith(this.folder, this.#packsIn)
  }

  /** Ends whatever job of the machine is open. */
  async fail({ agent }: MachineRow): Promise<void> {
    await this.datastore.catalog.jobs.reconcile({ agent, jobs: [], handed: [], nowMs: 1 })
  }

  async machine(name: string): Promise<MachineRow> {
    const { catalog } = this.datastore
    return addMachine(catalog, this.tenant, await addAgent(catalog, this.tenant), name)
  }

  /** A begun job for one disk `vda`; the last chunk is short by `shortBytes`. */
  async job(machine: MachineRow, size: number, kind: ReadKind = 'full'): Promise<{ id: string; machine: MachineRow }> {
    const { catalog } = this.datastore
    const id = await startJob(catalog, this.tenant, machine, { full: kind === 'full', compare: true })
    const disk = kind === 'full' ? fullDisk('vda', size, 'requested') : incrementalDisk('vda', size)
    const seen = { evidence: `below ${id}`, comparedChunks: 3 }
    const leftOut = [{ name: 'cd', reason: 'read-only' as const }]
    await beginJob(catalog, { id, agent: machine.agent }, [{ ...disk, ...seen }], { leftOut })
    return { id, machine }
  }

  upload(job: { id: string; machine: MachineRow }, clock = new HandClock(1000)): Script {
    return new Script(this, job, clock)
  }

  async commit({ id, machine }: { id: string; machine: MachineRow }, nowMs = 30): Promise<void> {
    const { catalog } = this.datastore
    const complete = await catalog.jobs.complete({ job: id, agent: machine.agent })
    const took = {
      frozenMs: 7,
      scratch: { usedBytes: 9, limitBytes: null },
      steps: [{ step: 'lease' as const, tookMs: 8 }],
    }
    const figures = { bytesRead: 0, took, nowMs, lockedUntilMs: null }
    using kept = await this.datastore.tenantStore(this.tenant).writeManifest(manifestOf(complete, figures))
    await catalog.jobs.commit({ job: id, agent: machine.agent, ...figures, manifest: kept.id })
  }

  idOf(plain: Uint8Array): Uint8Array {
    return keyedHash(this.tenant.idKey, plain)
  }

  refs(plains: Plains): Ref[] {
    return plains.map((plain) => (plain === null ? null : this.idOf(plain)))
  }

  byId(plains: Plains): Map<string, Uint8Array> {
    return new Map(plains.flatMap((plain) => (plain === null ? [] : [[hex(this.idOf(plain)), plain]])))
  }

  /** Uploads a whole disk in messages of so many chunks; zeroes and ids only. */
  async uploadAll(job: { id: string; machine: MachineRow }, plains: Plains, perMessage = 64): Promise<Script> {
    const script = this.upload(job)
    script.together = this.together
    const { position, proofKey } = await script.started()
    const byId = this.byId(plains)
    for (let from = position; from < plains.length; from += perMessage)
      await script.deliver(runsOf(this.refs(plains.slice(from, from + perMessage))), byId, proofKey)
    script.end()
    await script.result
    return script
  }

  /** A committed restore point of a machine with this disk. */
  async point(machine: MachineRow, plains: Plains, nowMs = 30): Promise<{ id: string; root: Ref }> {
    const job = await this.job(machine, sizeOf(plains))
    const script = await this.uploadAll(job, plains)
    await this.commit(job, nowMs)
    return { id: job.id, root: (await script.result).root }
  }

  /** The refs of an image as they are stored. */
  async stored(root: Ref, chunks: number): Promise<Ref[]> {
    const runs = await collect(leaves(this.datastore.tenantStore(this.tenant).nodes.cached, root, chunks))
    return runs.flatMap(({ count, ids }): Ref[] => (ids === null ? Array<null>(count).fill(null) : [...ids]))
  }

  async row(job: {
    id: string
    machine: MachineRow
  }): Promise<{ position: number; finished: boolean; changedBytes: number }> {
    return this.datastore.catalog.jobs.upload({ job: job.id, agent: job.machine.agent, disk: 'vda' })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#datastore[Symbol.asyncDispose]()
    await this.#temporary[Symbol.asyncDispose]()
  }
}

export const sizeOf = (plains: Plains): number => {
  const last = plains.at(-1)
  return (plains.length - 1) * CHUNK_BYTES + (last?.length ?? CHUNK_BYTES)
}

/** Neighbouring refs as runs. */
export const runsOf = (refs: readonly Ref[]): Runs => {
  const runs: Runs = []
  for (const ref of refs) {
    const last = runs.at(-1)
    if (ref === null) {
      if (last?.[0] === RUN.zero) last[1]++
      else runs.push([RUN.zero, 1])
    } else if (last?.[0] === RUN.ids) last[1] = joinIds([last[1], ref])
    else runs.push([RUN.ids, ref])
  }
  return runs
}

export const sameRefs = (a: readonly Ref[], b: readonly Ref[]): boolean =>
  a.length === b.length &&
  a.every((ref, index) => {
    const other = b[index]!
    return ref === null || other === null ? ref === other : equalBytes(ref, other)
  })
