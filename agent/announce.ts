// Before the images of a lease are uploaded: compares what is recorded as unchanged, and announces the backup.
import { CONFIGURATION_CHARS_MAX } from '../protocol/limits.ts'
import type { Asked, Chunking } from '../protocol/methods.ts'
import { compareAll, compareSample, type AskBase, type AskContent } from './image/compare.ts'
import type { Attached } from './attachments/spool.ts'
import type { BaseContent } from './base-content.ts'
import type { Lease, LeasedDisk } from './drivers/driver.ts'
import type { Log } from '../protocol/host/log.ts'
import type { GatewayLink } from './session/link.ts'

/** Disks of which a sample is compared at once: each asks the gateway, which may be far. */
const SAMPLED_AT_ONCE = 8

/** Chunks that a line of the log names where a bitmap missed changes. */
const DIFFERENT_LOGGED_MAX = 16

export interface CompareOptions {
  readonly job: string
  readonly lease: Lease
  readonly keys: Chunking
  /** Asks for the content of an image of the base. */
  readonly content: BaseContent
  /** Rejects unless the lease holds; what the gateway finds different is for good. */
  readonly check: () => Promise<void>
  readonly signal: AbortSignal
  readonly link: GatewayLink
  readonly log: Log
  /** How long to wait for a gateway that is away, in milliseconds. */
  readonly awayMs: number
}

/** Compares every incremental disk of the lease, in full or by sample, and reports the result to the lease. */
export const compareLease = async (options: CompareOptions): Promise<void> => {
  const { job, lease, keys, content, check, signal, link, log, awayMs } = options
  const compare = lease.compareAll ? compareAll : compareSample
  const outcomes = new Map<string, { readonly chunks: number; readonly missed: boolean }>()
  const startedMs = performance.now()
  const compareDisk = async (disk: LeasedDisk): Promise<void> => {
    const { name, base, clips = false, compared = false } = disk
    // nothing outside of its bitmap can be read, or it was compared before the agent was started anew and discarded since
    if (base === null || clips || compared) return
    const ask: AskBase = async (positions, ids) => {
      await check()
      return await link.call('image.compare', { job, disk: base, positions: [...positions], ids }, signal, awayMs)
    }
    const askContent: AskContent = (before, limit) => content({ disk: base, before, limit })
    const { chunks, different } = await compare({ ...keys, disk, signal, ask, askContent })
    if (different.length > 0)
      log.error(
        { job, disk: name, chunks: different.slice(0, DIFFERENT_LOGGED_MAX) },
        'the bitmap of a disk has missed changes; the disk is read in full',
      )
    outcomes.set(name, { chunks, missed: different.length > 0 })
  }
  // a comparison of all takes every thread by itself
  const atOnce = lease.compareAll ? 1 : SAMPLED_AT_ONCE
  for (let from = 0; from < lease.disks.length; from += atOnce) {
    const comparing = lease.disks.slice(from, from + atOnce).map(compareDisk)
    // the lease must not end while one of them still reads
    await Promise.allSettled(comparing)
    await Promise.all(comparing)
  }
  if (outcomes.size === 0) return
  await lease.compared(outcomes)
  const chunks = [...outcomes.values()].reduce((sum, one) => sum + one.chunks, 0)
  log.debug({ job, chunks, ms: performance.now() - startedMs }, 'compared what is said to be unchanged')
}

/** The announcement of a lease, sent before its images. */
export const announcementOf = (job: string, lease: Lease, { files, missing }: Attached): Asked<'backup.begin'> => {
  const configuration = JSON.stringify(lease.configuration)
  return {
    job,
    timeMs: lease.timeMs,
    ...(lease.leadMs === undefined ? {} : { leadMs: lease.leadMs }),
    consistency: lease.consistency,
    note: lease.consistencyNote,
    configuration: configuration.length <= CONFIGURATION_CHARS_MAX ? configuration : '{}',
    leftOut: [...lease.leftOut],
    checkpoint: lease.checkpoint,
    disks: lease.disks.map(({ name, size, kind, reason, base, evidence, comparedChunks }) => {
      return { name, size, kind, reason, base, evidence, comparedChunks }
    }),
    attachments: files.map(({ name, size }) => ({ name, size })),
    missing,
  }
}
