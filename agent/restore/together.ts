// Images that are restored together: a few at once, with one bound for what is on the way, and all of them named or none.
import { systemClock } from '../../protocol/host/clock.ts'
import type { Peer } from '../../protocol/peer.ts'
import type { Ref } from '../../protocol/image-tree.ts'
import { ImageThreads } from '../image/image-threads.ts'
import { Decoder } from './decoder.ts'
import { keptOf } from './kept.ts'
import type { OpenedTarget } from './open-target.ts'
import { restoreDisk, type Restored } from './restore.ts'
import type { Target } from './target.ts'

/** Images that are written at once; they share the memory of one. */
export const IMAGES_AT_ONCE = 3

/** An image of a restore point with its open target; `size` is bytes. */
export interface OpenImage {
  readonly name: string
  readonly size: number
  readonly root: Ref
  readonly opened: Pick<OpenedTarget, 'target' | 'left'>
}

export interface TogetherOptions {
  readonly point: string
  readonly repeat: <R>(work: (peer: Peer) => Promise<R>, signal: AbortSignal) => Promise<R>
  readonly skipDamaged: boolean
  readonly signal: AbortSignal
  /** Bytes of all images that are written, and stored bytes that were received. */
  readonly onProgress: (doneBytes: number, bytesReceived: number) => void
}

export interface RestoredTogether extends Restored {
  readonly bytesReceived: number
}

const sum = (values: readonly number[]): number => values.reduce((all, value) => all + value, 0)

/** Writes all images, in their order; the first failure ends the others, and is thrown once they have ended. */
export const restoreTogether = async (
  images: readonly OpenImage[],
  { point, repeat, skipDamaged, signal: outer, onProgress }: TogetherOptions,
): Promise<RestoredTogether[]> => {
  const failed = new AbortController()
  const signal = AbortSignal.any([outer, failed.signal])
  await using decoder = new Decoder()
  await using threads = new ImageThreads(systemClock)
  const shared = { decoder, count: Math.min(IMAGES_AT_ONCE, images.length) }
  const done = images.map(() => 0)
  const received = images.map(() => 0)
  const results: RestoredTogether[] = []
  const write = async (index: number): Promise<void> => {
    const { name, size, root, opened } = images[index]!
    const { target, left } = opened
    const link = { repeat: <R>(work: (peer: Peer) => Promise<R>) => repeat(work, signal) }
    const reads = { link, point, disk: name, signal }
    const restored = await restoreDisk({
      repeat: (work) => link.repeat(work),
      point,
      disk: name,
      size,
      root,
      target,
      skipDamaged,
      signal,
      shared,
      ...(left === null ? {} : { kept: keptOf({ content: left, size, root, reads, threads }) }),
      onProgress: (doneBytes, bytesReceived) => {
        done[index] = doneBytes
        received[index] = bytesReceived
        onProgress(sum(done), sum(received))
      },
    })
    results[index] = { ...restored, bytesReceived: received[index]! }
  }
  const waiting = [...images.keys()]
  const work = async (): Promise<void> => {
    for (let index = waiting.shift(); index !== undefined; index = waiting.shift()) {
      signal.throwIfAborted()
      await write(index)
    }
  }
  let failure: { readonly thrown: unknown } | null = null
  await Promise.all(
    Array.from({ length: shared.count }, () =>
      work().catch((thrown: unknown) => {
        failure ??= { thrown }
        failed.abort(thrown)
      }),
    ),
  )
  // a closure has set it
  const first = failure as { readonly thrown: unknown } | null
  if (first !== null) throw first.thrown
  return results
}

/**
 * Gives all targets their names, after all that can fail or take long has been done for all of them, so that they get them
 * together or none does. Returns each one's remarks. TARGET_EXISTS, TARGET_IN_USE, TARGET_INVALID, and those of `checkPlaces`.
 */
export const nameTargets = async (
  targets: readonly Target[],
  { checkPlaces, signal }: { readonly checkPlaces: () => Promise<void>; readonly signal: AbortSignal },
): Promise<(readonly string[])[]> => {
  await checkPlaces()
  for (const step of ['seal', 'check'] as const) {
    for (const target of targets) {
      signal.throwIfAborted()
      await target[step]()
    }
  }
  await checkPlaces()
  signal.throwIfAborted()
  const remarks: (readonly string[])[] = []
  for (const target of targets) remarks.push(await target.publish())
  return remarks
}
