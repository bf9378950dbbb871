// An agent in a life of the model: its machines' disks are numbers, its link is memory; it reads, sends and resumes as a
// real one does.
import { announced } from '../support/announced.ts'
import { setTimeout as sleep } from 'node:timers/promises'
import { keyedHash } from '../../protocol/host/keyed-hash.ts'
import type { ReadReason } from '../../protocol/backup.ts'
import { hex, ID_BYTES } from '../../protocol/chunk.ts'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { ANSWER, DOWN, RUN, UP, type Params, type Result, type Up } from '../../protocol/methods.ts'
import type { Peer } from '../../protocol/peer.ts'
import type { MemoryLink } from '../gateway/memory-link.ts'
import { chunksMessage, wireBundle } from '../protocol/wire-chunks.ts'
import { chunkAt, CHUNK_BYTES, type DiskContent } from './contents.ts'
import type { BackupOp, Fact, OpenBackup } from './plan.ts'

type Order = Params<'agent.backup'>

/** Wanted chunks in bundles of one to four, by their own bytes. */
const inBundles = (ids: readonly Uint8Array[]): Uint8Array[][] => {
  const bundles: Uint8Array[][] = []
  for (const id of ids) {
    const last = bundles.at(-1)
    if (last !== undefined && last.length <= last[0]![0]! % 4) last.push(id)
    else bundles.push([id])
  }
  return bundles
}
type Runs = Extract<Up<'image.upload'>, [0, unknown]>[1]

/** Why a backup has not come to its end though nothing failed. */
class LeftOpen extends Error {}

/** How often a commit is tried that the gateway refused. */
const COMMIT_TRIES = 3

interface LifeAgentOptions {
  readonly machine: string
  /** Opens a link to the gateway on which the agent serves. */
  readonly connect: (handlers: { onOrder: (order: Order) => void }) => MemoryLink
  /** What disks hold in restore points that may be there. */
  readonly known: Map<string, readonly DiskContent[]>
  readonly say: (fact: Fact) => void
}

export class LifeAgent {
  readonly machine: string
  readonly #options: LifeAgentOptions
  #link: MemoryLink
  #orders: Order[] = []

  constructor(options: LifeAgentOptions) {
    this.#options = options
    this.machine = options.machine
    this.#link = this.#connect()
  }

  /** Says hello with the jobs it holds a lease for; what became of each. */
  async inventory(jobs: readonly string[]): Promise<Result<'agent.inventory'>['jobs']> {
    const params = { host: 'host', machines: [announced(this.machine)], jobs: [...jobs] }
    return (await this.#link.agent.call('agent.inventory', params)).jobs
  }

  /** A backup from its start, which `person` asks for, to its end. */
  async backup(op: BackupOp, person: Peer): Promise<void> {
    const { machine, full } = op
    this.#orders = []
    let job: string
    try {
      job = (await person.call('backup.start', { machine, full })).job
    } catch (thrown) {
      return this.#failed(null, thrown)
    }
    const order = this.#orders.find((one) => one.job === job)
    if (order === undefined) throw new Error('a backup started of which its agent knows nothing')
    const open = this.#open(op, order)
    await this.#finish(open, order.idKey, op)
  }

  /** Goes on with a backup of an earlier life, if the gateway still has it. */
  async resume(open: OpenBackup, state: Result<'agent.inventory'>['jobs'][number], window: number): Promise<void> {
    if (state.state === 'committed') return this.#options.say({ fact: 'committed', job: open.job })
    if (state.keys === null) return this.#failed(open.job, new VarveError('JOB_ENDED', `it is ${state.state}`))
    await this.#finish(open, state.keys.idKey, { window, cut: null })
  }

  #connect(): MemoryLink {
    return this.#options.connect({ onOrder: (order) => void this.#orders.push(order) })
  }

  /** What is going to be read: an increment where the gateway's base is a point whose disks are known here. */
  #open(op: BackupOp, { job, base }: Order): OpenBackup {
    const point = base?.checkpoint ?? null
    if (base !== null && point === null)
      throw new Error('the gateway has a point without a checkpoint, which nobody made')
    const before = point === null ? [] : (this.#options.known.get(point) ?? [])
    for (const { name, evidence } of base?.disks ?? [])
      if (evidence !== evidenceOf(point!, name))
        throw new Error(`of disk ${name} the gateway remembers "${evidence}", which nobody said of ${point}`)
    const disks = op.disks.map((disk) => {
      const inBase = base?.disks.find(({ name }) => name === disk.name)
      const known = before.some(({ name, size }) => name === disk.name && size === disk.size)
      const incremental = !op.full && inBase?.size === disk.size && inBase.reread !== null && known
      const again = (inBase?.reread ?? []).flatMap(([offset, length]) => chunksIn(offset, length))
      const reason = incremental ? 'bitmap' : fullReason(base, inBase, disk.size, op.full)
      return { ...disk, incremental, reason, again }
    })
    const { machine, touchEvery } = op
    const open = { job, machine, base: point, disks, touchEvery, begun: false }
    this.#options.known.set(job, op.disks)
    this.#options.say({ fact: 'started', ...open })
    return open
  }

  async #finish(
    open: OpenBackup,
    idKey: Uint8Array,
    { window, cut, timeMs }: Pick<BackupOp, 'window' | 'cut'> & { readonly timeMs?: number },
  ): Promise<void> {
    const { job } = open
    try {
      if (timeMs !== undefined) {
        await this.#compare(open, idKey)
        await this.#begin(open, timeMs)
      }
      await this.#disks(open, idKey, window, cut)
      await this.#commit(open)
    } catch (thrown) {
      if (thrown instanceof LeftOpen) return
      this.#failed(job, thrown)
      const { code, message } = asVarveError(thrown)
      // the lease is given back whatever the gateway says
      await this.#link.agent.call('backup.fail', { job, code, message }).catch(() => {})
    }
  }

  /** A few chunks of each increment are what the base has, as far as that can be read just now. */
  async #compare({ job, base, disks }: OpenBackup, idKey: Uint8Array): Promise<void> {
    for (const { name, incremental, chunks } of disks) {
      const before = incremental ? this.#options.known.get(base!)?.find((disk) => disk.name === name) : undefined
      if (before === undefined) continue
      const last = chunks.length - 1
      const positions = [...new Set([0, Math.floor(last / 2), last])]
      const ids = positions.map((position) =>
        before.chunks[position] === 0 ? new Uint8Array(ID_BYTES) : keyedHash(idKey, chunkAt(before, position)),
      )
      const asked = { job, disk: name, positions, ids: Buffer.concat(ids) }
      const { compared, different } = await this.#link.agent.call('image.compare', asked)
      if (different.length > 0 || (compared !== 0 && compared !== positions.length))
        throw new Error(`disk ${name} of ${base} is not what it was at ${different.join()} of ${positions.join()}`)
    }
  }

  async #begin({ job, disks }: OpenBackup, timeMs: number): Promise<void> {
    const reads = disks.map(({ name, size, incremental, reason }) => ({
      name,
      size,
      kind: incremental ? ('incremental' as const) : ('full' as const),
      reason,
      base: incremental ? name : null,
      evidence: evidenceOf(job, name),
      comparedChunks: 0,
    }))
    const promised = {
      timeMs,
      consistency: 'crash' as const,
      note: null,
      configuration: '{}',
      leftOut: [],
      checkpoint: true,
    }
    await this.#link.agent.call('backup.begin', { job, ...promised, disks: reads })
    this.#options.say({ fact: 'begun', job })
  }

  async #disks(open: OpenBackup, idKey: Uint8Array, window: number, cut: BackupOp['cut']): Promise<void> {
    const [first, ...others] = open.disks
    const all = others.map((disk) => this.#disk(open, disk.name, idKey, window, null))
    all.unshift(this.#disk(open, first!.name, idKey, window, cut?.at ?? null))
    const ended = await Promise.allSettled(all)
    const failure = ended.find(({ status }) => status === 'rejected')
    if (failure === undefined) return
    if (cut === null || !ended.some((one) => one.status === 'rejected' && one.reason instanceof LeftOpen))
      throw (failure as PromiseRejectedResult).reason
    if (cut.after === 'leave') throw new LeftOpen()
    this.#link = this.#connect()
    const [state] = await this.inventory(cut.after === 'resume' ? [open.job] : [])
    if (state === undefined) throw new VarveError('LEASE_LOST', 'the agent gave it up')
    if (state.state !== 'running') throw new VarveError('JOB_ENDED', `it is ${state.state}`)
    await this.#disks(open, idKey, window, null)
  }

  async #disk(open: OpenBackup, name: string, idKey: Uint8Array, window: number, cutAt: number | null): Promise<void> {
    const disk = open.disks.find((one) => one.name === name)!
    const base = open.base === null ? undefined : this.#options.known.get(open.base)?.find((one) => one.name === name)
    const call = this.#link.agent.open('image.upload', { job: open.job, disk: name })
    call.result.catch(() => {})
    const messages = call.messages[Symbol.asyncIterator]()
    const heard = async () => {
      for (;;) {
        const next = await messages.next()
        if (next.done === true) return null
        if (next.value[0] !== DOWN.durable) return next.value
      }
    }
    const start = await heard()
    if (start?.[0] === DOWN.start) {
      const { position, proofKey } = start[1]
      for (let from = position; from < disk.chunks.length; from += window) {
        if (cutAt !== null && from >= cutAt) {
          // what was sent gets a little time to become durable
          await sleep(cutAt % 40)
          this.#link.cut()
          throw new LeftOpen()
        }
        const to = Math.min(from + window, disk.chunks.length)
        const { runs, ids } = runsOf({ disk, base, open, idKey, from, to })
        await call.send([UP.runs, runs])
        const answers = await heard()
        if (answers?.[0] !== DOWN.answers) break
        const asked = (answer: number): Uint8Array[] => ids.filter((_, index) => answers[1][index] === answer)
        const plain = new Map(ids.map((id, index) => [hex(id), index] as const))
        const indexes = indexesOf({ disk, base, open, from, to })
        const bytesOf = (id: Uint8Array): Uint8Array => chunkAt(disk, indexes[plain.get(hex(id))!]!)
        const wanted = asked(ANSWER.want)
        const toProve = asked(ANSWER.prove)
        if (toProve.length > 0) {
          await call.send([UP.proofs, toProve.map((id) => [id, keyedHash(proofKey, bytesOf(id))])])
          const verdicts = await heard()
          if (verdicts?.[0] !== DOWN.verdicts) break
          wanted.push(...toProve.filter((_, index) => verdicts[1][index] === ANSWER.want))
        }
        if (wanted.length > 0)
          await call.send(
            chunksMessage(
              UP.chunks,
              ...inBundles(wanted).map((some) => wireBundle(some.map((id) => [id, bytesOf(id)]))),
            ),
          )
      }
      call.end()
    }
    await call.result
  }

  async #commit({ job, disks }: OpenBackup): Promise<void> {
    const bytesRead = disks.reduce((sum, { size }) => sum + size, 0)
    for (let tried = 1; ; tried++) {
      try {
        await this.#link.agent.call('backup.commit', { job, bytesRead })
        return this.#options.say({ fact: 'committed', job })
      } catch (thrown) {
        if (tried === COMMIT_TRIES || !asVarveError(thrown).code.startsWith('STORE_')) throw thrown
      }
    }
  }

  #failed(job: string | null, thrown: unknown): void {
    const { code, message } = asVarveError(thrown)
    this.#options.say({ fact: 'failed', job, machine: this.machine, code, message })
  }
}

/** What is remembered of a disk: it must come back with the next backup's order, as it was said. */
const evidenceOf = (job: string, disk: string): string => `${disk} at ${job}`

const fullReason = (
  base: Order['base'],
  inBase: { readonly size: number; readonly reread: unknown } | undefined,
  size: number,
  full: boolean,
): ReadReason => {
  if (base === null) return 'first'
  if (full) return 'requested'
  if (inBase === undefined) return 'disk-added'
  if (inBase.size !== size) return 'size-changed'
  return inBase.reread === null ? 'base-damaged' : 'bitmap-missing'
}

interface Reading {
  readonly disk: OpenBackup['disks'][number]
  readonly base: DiskContent | undefined
  readonly open: OpenBackup
  readonly from: number
  readonly to: number
}

/** Whether a chunk of an increment is left to its base. */
const isKept = ({ disk, base, open }: Reading, index: number): boolean =>
  disk.incremental &&
  base!.chunks[index] === disk.chunks[index] &&
  index % open.touchEvery !== 0 &&
  !disk.again.includes(index)

/** Places in the disk of the ids that the runs name, in order. */
const indexesOf = (reading: Reading): number[] => {
  const indexes: number[] = []
  for (let index = reading.from; index < reading.to; index++)
    if (!isKept(reading, index) && reading.disk.chunks[index] !== 0) indexes.push(index)
  return indexes
}

const runsOf = (reading: Reading & { readonly idKey: Uint8Array }): { runs: Runs; ids: Uint8Array[] } => {
  const { disk, idKey, from, to } = reading
  const runs: Runs = []
  const ids: Uint8Array[] = []
  for (let index = from; index < to; index++) {
    const last = runs.at(-1)
    const kind = isKept(reading, index) ? RUN.keep : disk.chunks[index] === 0 ? RUN.zero : RUN.ids
    if (kind !== RUN.ids) {
      if (last?.[0] === kind) last[1]++
      else runs.push([kind, 1])
      continue
    }
    const id = keyedHash(idKey, chunkAt(disk, index))
    ids.push(id)
    if (last?.[0] === RUN.ids) last[1] = Buffer.concat([last[1], id])
    else runs.push([RUN.ids, id])
  }
  return { runs, ids }
}

/** Indexes of the chunks that a range of a disk touches. */
const chunksIn = (offset: number, length: number): number[] => {
  const first = Math.floor(offset / CHUNK_BYTES)
  return Array.from({ length: Math.ceil((offset + length) / CHUNK_BYTES) - first }, (_, index) => first + index)
}
