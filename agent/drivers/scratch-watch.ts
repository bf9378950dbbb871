// Watches the scratch space, so that a backup is cancelled before a guest's write could fail.

import { VarveError } from '../../protocol/errors.ts'
import { pause, within } from '../../protocol/host/within.ts'
import type { ScratchUse } from '../../protocol/schemas.ts'
import { useOf } from './scratch.ts'

/** Longest and shortest pause between two looks, in milliseconds. */
export const SCRATCH_POLL_MS = 200
export const SCRATCH_POLL_MIN_MS = 5

/**
 * Fastest that a guest is assumed to fill scratch space, in bytes per millisecond (4 GiB/s). At this rate the default
 * reserve lasts 62 ms, the time to see it and to cancel the jobs.
 */
export const SCRATCH_RATE_MAX = (4 * 1024 ** 3) / 1000

/** The space must last this long at the rate at which it shrinks now, in milliseconds. */
export const SCRATCH_AHEAD_MS = 200

/** How long one look may take, in milliseconds; a slower file system counts as full. */
export const SCRATCH_LOOK_LIMIT_MS = 10_000

export interface ScratchLook {
  readonly freeBytes: number
  readonly reserveBytes: number
  /** How fast the free space shrinks, in bytes per millisecond. */
  readonly shrinkRate: number
}

/** Whether the space is too low, and else when to look again: before even the fastest guest could reach the reserve. */
export const judgeScratch = ({
  freeBytes,
  reserveBytes,
  shrinkRate,
}: ScratchLook): { low: boolean; nextMs: number } => {
  const low = freeBytes < reserveBytes || freeBytes < shrinkRate * SCRATCH_AHEAD_MS
  const untilReserveMs = (freeBytes - reserveBytes) / SCRATCH_RATE_MAX
  return { low, nextMs: Math.max(SCRATCH_POLL_MIN_MS, Math.min(SCRATCH_POLL_MS, untilReserveMs)) }
}

export interface ScratchWatchOptions {
  readonly folder: string
  readonly reserveBytes: number
  readonly freeBytes: (folder: string) => Promise<number>
  readonly signal: AbortSignal
  readonly lookLimitMs?: number
}

/** The free space where it is not known: less than any reserve. */
const UNKNOWN_BYTES = -1

/** The free bytes; negative where they cannot be read in time. */
export const lookAtScratch = async (options: Omit<ScratchWatchOptions, 'reserveBytes' | 'signal'>): Promise<number> => {
  const { folder, lookLimitMs = SCRATCH_LOOK_LIMIT_MS } = options
  const looking = options.freeBytes(folder).catch(() => UNKNOWN_BYTES)
  return (await within(looking, lookLimitMs)) ?? UNKNOWN_BYTES
}

/** What the images in a scratch folder take; null where the file system does not say so in time. */
export const lookAtUse = async (options: Omit<ScratchWatchOptions, 'signal'>): Promise<ScratchUse | null> => {
  const { folder, reserveBytes, lookLimitMs = SCRATCH_LOOK_LIMIT_MS } = options
  const freeBytes = await lookAtScratch(options)
  if (freeBytes === UNKNOWN_BYTES) return null
  return await within(useOf(folder, { freeBytes, reserveBytes }), lookLimitMs)
}

const lowError = (freeBytes: number, reserveBytes: number): VarveError =>
  new VarveError('SCRATCH_LOW', 'the scratch space ran low; the backup was given up before a guest write could fail', {
    details: { freeBytes: Math.max(0, freeBytes), reserveBytes },
  })

/** Watches until the space is low (SCRATCH_LOW) or the signal aborts (null). A folder that cannot be read in time is low. */
export const watchScratch = async (options: ScratchWatchOptions): Promise<VarveError | null> => {
  const { reserveBytes, signal } = options
  let last: { freeBytes: number; atMs: number } | null = null
  while (!signal.aborted) {
    const freeBytes = await lookAtScratch(options)
    const atMs = performance.now()
    const shrinkRate = last === null ? 0 : Math.max(0, (last.freeBytes - freeBytes) / Math.max(1, atMs - last.atMs))
    const { low, nextMs } = judgeScratch({ freeBytes, reserveBytes, shrinkRate })
    if (signal.aborted) return null
    if (low) return lowError(freeBytes, reserveBytes)
    last = { freeBytes, atMs }
    await pause(nextMs, signal)
  }
  return null
}
