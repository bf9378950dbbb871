// The map of a disk: what to read, what is zero, and what has not changed since a checkpoint.
import { VarveError } from '../../protocol/errors.ts'
import type { StatusByContext } from './pending-request.ts'
import { ALLOCATION_ZERO, BITMAP_DIRTY, protocolError, type StatusExtent } from './wire.ts'

export const ALLOCATION_CONTEXT = 'base:allocation'

/** Longest range of one map request, in bytes. */
export const WINDOW_BYTES = 2 ** 30
/** Most maps of changed spans that are prefetched. */
const SPANS_AHEAD_MAX = 8

/** `data` must be read, `zero` reads as zeroes and is recorded as such, `keep` has not changed since the checkpoint. */
export type ExtentKind = 'data' | 'zero' | 'keep'

export interface DiskExtent {
  readonly offset: number
  readonly length: number
  readonly kind: ExtentKind
}

/** A source of maps, such as an NbdClient. */
export interface StatusSource {
  readonly size: number
  blockStatus(offset: number, length: number): Promise<StatusByContext>
}

/** The same source, or one that takes everything for data: of an export of which only one block at a time may be asked. */
export const mapped = (source: StatusSource, { boundaryBytes }: { readonly boundaryBytes?: number }): StatusSource =>
  boundaryBytes === undefined
    ? source
    : {
        size: source.size,
        blockStatus: (_, length) => Promise.resolve(new Map([[ALLOCATION_CONTEXT, [{ length, flags: 0 }]]])),
      }

export interface DiskExtentsOptions {
  /** Has `allocationContext`; only asked about what may have changed. */
  readonly allocation: StatusSource
  readonly allocationContext?: string
  /** The changes since a checkpoint; null if the whole disk counts as changed. */
  readonly dirty: { readonly client: StatusSource; readonly context: string } | null
  /** Size of the disk in bytes, at most that of the exports. */
  readonly size: number
  readonly windowBytes?: number
  /** Nothing is asked about what lies before it, in bytes: that counts as unchanged. A multiple of the chunk size; 0 unless given. */
  readonly fromBytes?: number
  /**
   * Unchanged gaps up to this many bytes are included in allocation requests, which saves requests; longer ones never are. It
   * must be 0 (the default) for exports that refuse requests about unchanged ranges.
   */
  readonly bridgeBytes?: number
}

/** A range that is either unchanged or needs an allocation request. */
export interface Span {
  readonly offset: number
  readonly length: number
  /** The bitmap's map of the span; null where nothing in it changed. */
  readonly dirty: readonly StatusExtent[] | null
}

/** Whether a bitmap's extent has changed. */
export const isChanged = (extent: StatusExtent): boolean => (extent.flags & BITMAP_DIRTY) !== 0

const joined = (statuses: readonly StatusExtent[]): StatusExtent[] => {
  const result: StatusExtent[] = []
  for (const extent of statuses) {
    const last = result.at(-1)
    if (last !== undefined && isChanged(last) === isChanged(extent)) {
      result[result.length - 1] = { length: last.length + extent.length, flags: last.flags }
    } else {
      result.push(extent)
    }
  }
  return result
}

/** Cuts the bitmap's map from `offset` on into spans: unchanged ones, and ones that begin and end with a change. */
export const planSpans = (offset: number, statuses: readonly StatusExtent[], bridgeBytes: number): Span[] => {
  const spans: Span[] = []
  let at = offset
  let open: StatusExtent[] = []
  let openLength = 0
  const closeOpen = (): void => {
    if (openLength === 0) return
    spans.push({ offset: at - openLength, length: openLength, dirty: open })
    open = []
    openLength = 0
  }
  const extents = joined(statuses)
  for (const [index, extent] of extents.entries()) {
    const between = index > 0 && index < extents.length - 1
    if (isChanged(extent) || (between && extent.length <= bridgeBytes)) {
      open.push(extent)
      openLength += extent.length
    } else {
      closeOpen()
      spans.push({ offset: at, length: extent.length, dirty: null })
    }
    at += extent.length
  }
  closeOpen()
  return spans
}

/**
 * Merges both maps from `offset` on, as far as both go: unchanged is `keep`; changed is `zero` where it reads as zeroes,
 * else `data`. Neighbours of one kind are not joined.
 */
export function* mergeStatus(
  offset: number,
  allocation: readonly StatusExtent[],
  dirty: readonly StatusExtent[],
): Generator<DiskExtent> {
  let at = offset
  let index = 0
  let usedBytes = 0
  for (const extent of allocation) {
    const changedKind = (extent.flags & ALLOCATION_ZERO) === 0 ? 'data' : 'zero'
    for (let left = extent.length; left > 0;) {
      const change = dirty[index]
      if (change === undefined) return
      const length = Math.min(left, change.length - usedBytes)
      yield { offset: at, length, kind: isChanged(change) ? changedKind : 'keep' }
      at += length
      left -= length
      usedBytes += length
      if (usedBytes === change.length) {
        index += 1
        usedBytes = 0
      }
    }
  }
}

const lengthOf = (statuses: readonly StatusExtent[]): number =>
  statuses.reduce((total, extent) => total + extent.length, 0)

/** The map without its first `skipBytes` bytes. */
const skip = (statuses: readonly StatusExtent[], skipBytes: number): readonly StatusExtent[] => {
  let left = skipBytes
  for (const [index, extent] of statuses.entries()) {
    if (left < extent.length)
      return [{ length: extent.length - left, flags: extent.flags }, ...statuses.slice(index + 1)]
    left -= extent.length
  }
  return []
}

/** One context's map: at least one byte, at most `length`. */
const askStatus = async (
  source: StatusSource,
  context: string,
  offset: number,
  length: number,
): Promise<readonly StatusExtent[]> => {
  const statuses = (await source.blockStatus(offset, length)).get(context)
  if (statuses === undefined) {
    throw new VarveError('NBD_ERROR', `the NBD connection has no context ${context}`, { details: { context } })
  }
  // the client promises both, but an empty map would loop forever
  const covered = lengthOf(statuses)
  if (covered === 0 || covered > length) throw protocolError(`a map of ${length} bytes covers ${covered}`)
  return statuses
}

const askAllocation = (options: DiskExtentsOptions, offset: number, length: number): Promise<readonly StatusExtent[]> =>
  askStatus(options.allocation, options.allocationContext ?? ALLOCATION_CONTEXT, offset, length)

const askChanges = async (
  { dirty }: DiskExtentsOptions,
  offset: number,
  length: number,
): Promise<readonly StatusExtent[]> =>
  dirty === null ? [{ length, flags: BITMAP_DIRTY }] : askStatus(dirty.client, dirty.context, offset, length)

type ExtentBatch = Iterable<DiskExtent>

async function* spanBatches(
  options: DiskExtentsOptions,
  span: Span & { readonly dirty: readonly StatusExtent[] },
  first: Promise<readonly StatusExtent[]>,
): AsyncGenerator<ExtentBatch> {
  const end = span.offset + span.length
  let { offset: at, dirty } = span
  let allocation = await first
  for (;;) {
    yield mergeStatus(at, allocation, dirty)
    const covered = lengthOf(allocation)
    at += covered
    if (at === end) return
    dirty = skip(dirty, covered)
    allocation = await askAllocation(options, at, end - at)
  }
}

/** At most `length` bytes from `offset`, at least one extent. */
async function* windowBatches(
  options: DiskExtentsOptions,
  offset: number,
  length: number,
): AsyncGenerator<ExtentBatch> {
  const spans = planSpans(offset, await askChanges(options, offset, length), options.bridgeBytes ?? 0)
  const asked = new Map<number, Promise<readonly StatusExtent[]>>()
  let nextToAsk = 0
  for (const [index, span] of spans.entries()) {
    for (; nextToAsk < spans.length && nextToAsk <= index + SPANS_AHEAD_MAX; nextToAsk += 1) {
      const ahead = spans[nextToAsk]
      if (ahead === undefined || ahead.dirty === null) continue
      const answer = askAllocation(options, ahead.offset, ahead.length)
      // the error is thrown when the span is reached, which may never happen
      answer.catch(() => undefined)
      asked.set(nextToAsk, answer)
    }
    const { dirty } = span
    const first = asked.get(index)
    if (dirty === null || first === undefined) {
      yield [{ offset: span.offset, length: span.length, kind: 'keep' }]
    } else {
      asked.delete(index)
      yield* spanBatches(options, { ...span, dirty }, first)
    }
  }
}

const checkOptions = ({ allocation, dirty, size }: DiskExtentsOptions): void => {
  const known = Math.min(allocation.size, dirty?.client.size ?? allocation.size)
  if (size > known) {
    const message = `the disk has ${size} bytes, but its NBD exports only ${known}`
    throw new VarveError('NBD_ERROR', message, { details: { errno: 'EINVAL', size } })
  }
}

/**
 * The whole disk from 0 to `size`: ascending, without gaps, neighbours of one kind joined.
 * Give each source a connection of its own with one context: QEMU ends a connection with two when one of them fails.
 * Throws NBD_ERROR and NBD_PROTOCOL as the sources do.
 */
export async function* diskExtents(options: DiskExtentsOptions): AsyncGenerator<DiskExtent> {
  checkOptions(options)
  const { size, windowBytes = WINDOW_BYTES } = options
  let at = Math.min(options.fromBytes ?? 0, size)
  let last: DiskExtent | null = at === 0 ? null : { offset: 0, length: at, kind: 'keep' }
  while (at < size) {
    for await (const batch of windowBatches(options, at, Math.min(windowBytes, size - at))) {
      for (const extent of batch) {
        if (last?.kind === extent.kind) {
          last = { offset: last.offset, length: last.length + extent.length, kind: last.kind }
        } else {
          if (last !== null) yield last
          last = extent
        }
        at = extent.offset + extent.length
      }
    }
  }
  if (last !== null) yield last
}
