// The part of a lease that mode push has more: QEMU's jobs are followed to their ends, and held back while the gateway is slow.
import { VarveError } from '../../../protocol/errors.ts'
import { pause } from '../../../protocol/host/within.ts'
import type { DiskExtent } from '../../nbd/extents.ts'
import { orAbort } from '../../../protocol/host/within.ts'
import type { PushState } from '../../push/control.ts'
import type { MapRow } from '../../push/pushed-disk.ts'
import type { PushServer } from '../../push/server.ts'
import type { QmpCaller } from '../../qmp/client.ts'
import type { PushedContent } from '../driver.ts'
import { useOfDisks } from '../scratch.ts'
import type { QmpEntry } from './entry.ts'
import { hasWritten, readJobs, type JobState } from './inventory.ts'

/** How often QEMU's jobs are looked at, in milliseconds: their ends are told, too. */
const LOOK_MS = 250

/** What may wait to be uploaded before a job is held back, in bytes, and with how much it goes on. */
export const AHEAD_BYTES_MAX = 1024 ** 3
export const AHEAD_BYTES_RESUME = AHEAD_BYTES_MAX / 2

/** What a full disk's job is held back by. */
export interface Ahead {
  /** Bytes of it that wait; a disk whose job has ended, or that is an increment, is never held back. */
  readonly waiting: number
  readonly paused: boolean
  /** It is the one being uploaded. */
  readonly isNext: boolean
  /** Nothing of it can be uploaded before its job has written more. */
  readonly isAwaited: boolean
}

/**
 * Whether each disk's job is to be held back. The one that is uploaded has all of the room; the others have what is left, so
 * that they do not fill the scratch space while they wait for their turn. Guests' writes are never held back, so what waits may
 * be theirs alone: the job whose bytes the upload waits for always goes on.
 */
export const heldBack = (disks: readonly Ahead[]): readonly boolean[] => {
  const all = disks.reduce((sum, { waiting }) => sum + waiting, 0)
  return disks.map(({ waiting, paused, isNext, isAwaited }) => {
    const mine = isNext ? waiting : all
    return !isAwaited && mine > (paused ? AHEAD_BYTES_RESUME : AHEAD_BYTES_MAX)
  })
}

export interface PushSideOptions {
  readonly entry: QmpEntry
  readonly server: PushServer
  readonly connect: () => Promise<QmpCaller>
  /** Called when a disk can not become part of a restore point. */
  readonly onBroken: (why: string) => void
}

export class PushSide {
  readonly server: PushServer
  readonly #options: PushSideOptions
  /** Disks that are uploaded already, or can be: the first of the others is next. */
  readonly #durable: number[]
  /** The disk whose map is waited for; null for none. */
  #awaited: { readonly index: number } | null = null
  #news = Promise.withResolvers<void>()

  constructor(options: PushSideOptions) {
    this.#options = options
    this.server = options.server
    this.#durable = options.entry.disks.map(() => 0)
  }

  /** What QEMU writes of a disk. */
  content(index: number): PushedContent {
    const { entry } = this.#options
    const { size } = entry.disks[index]!
    return {
      spool: { folder: entry.scratchFolder, index },
      extents: (chunkBytes, signal) =>
        pushedExtents({ map: (from) => this.#map(index, from), size, chunkBytes, signal }),
      durable: (bytes) => {
        this.#durable[index] = Math.min(size, Math.max(this.#durable[index]!, bytes))
        this.server.discard(index, this.#durable[index])
        this.wake()
      },
    }
  }

  /** Looks at the jobs now. */
  wake(): void {
    const { resolve } = this.#news
    this.#news = Promise.withResolvers<void>()
    resolve()
  }

  /** Follows QEMU's jobs until the signal aborts. What QEMU does not answer is looked at again. */
  async follow(entry: QmpEntry, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.#look(entry, await this.#options.connect())
      } catch (error) {
        // whoever holds the lease notices a QEMU or a process that is gone
        if (!(error instanceof VarveError)) throw error
      }
      const stop = new AbortController()
      await Promise.race([this.#news.promise, pause(LOOK_MS, AbortSignal.any([signal, stop.signal]))])
      stop.abort()
    }
  }

  /** Why what QEMU writes cannot become a restore point; null where it can. LEASE_LOST. */
  async problem(): Promise<string | null> {
    const { disks } = await this.server.state()
    const index = disks.findIndex(({ broken }) => broken !== null)
    return index < 0 ? null : `disk ${this.#options.entry.disks[index]!.name} cannot be taken: ${disks[index]!.broken}`
  }

  async #map(index: number, from: number): Promise<readonly MapRow[]> {
    const awaited = { index }
    this.#awaited = awaited
    try {
      return await this.server.map(index, from)
    } finally {
      // an upload that was broken off may have left an earlier one
      if (this.#awaited === awaited) this.#awaited = null
    }
  }

  async #look(entry: QmpEntry, client: QmpCaller): Promise<void> {
    const problem = await this.problem()
    if (problem !== null) return this.#options.onBroken(problem)
    const state = await this.server.state()
    const jobs = await readJobs(client)
    const jobOf = new Map(jobs.map((job) => [job.id, job]))
    for (const [index, { job, heldBytes }] of entry.disks.entries()) {
      const found = jobOf.get(job)
      if (found !== undefined && hasWritten(found) && !state.disks[index]!.sealed)
        await this.server.seal(index, heldBytes ?? 0)
    }
    await this.#holdBack(entry, client, jobOf, state)
  }

  async #holdBack(
    entry: QmpEntry,
    client: QmpCaller,
    jobOf: ReadonlyMap<string, JobState>,
    { disks }: PushState,
  ): Promise<void> {
    const used = await useOfDisks(entry.scratchFolder, entry.disks.length)
    const next = entry.disks.findIndex(({ size }, index) => this.#durable[index]! < size)
    const fulls = entry.disks.flatMap(({ job, kind }, index) => {
      const status = jobOf.get(job)?.status
      const works = kind === 'full' && !disks[index]!.sealed && (status === 'running' || status === 'paused')
      if (!works) return []
      const disk = { isNext: index === next, isAwaited: index === this.#awaited?.index }
      return [{ job, waiting: used[index]!, paused: status === 'paused', ...disk }]
    })
    const held = heldBack(fulls)
    for (const [index, { job, paused }] of fulls.entries())
      if (held[index] !== paused) await client.execute(paused ? 'job-resume' : 'job-pause', { id: job })
  }
}

interface ExtentsOptions {
  readonly map: (from: number) => Promise<readonly MapRow[]>
  readonly size: number
  readonly chunkBytes: number
  readonly signal: AbortSignal
}

async function* pushedExtents({ map, size, chunkBytes, signal }: ExtentsOptions): AsyncGenerator<DiskExtent> {
  let at = 0
  let last: DiskExtent['kind'] | null = null
  // also asked at the end, where it waits for the end of QEMU's job
  for (;;) {
    const rows = await orAbort(map(at), signal)
    if (at >= size) return
    for (const [kind, length] of rows) {
      const parted = last !== null && (last === 'keep') !== (kind === 'keep') && at % chunkBytes !== 0
      // the rest of the chunk is nowhere to be had
      if (parted) throw new VarveError('LEASE_LOST', `QEMU has written only a part of the chunk at ${at}`)
      yield { offset: at, length, kind }
      last = kind
      at += length
    }
  }
}
