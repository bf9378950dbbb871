// What differs between two restore points' disks, read to its end, and kept for who comes back to it.
import { signal, type ReadonlySignal, type Signal } from '@preact/signals'
import type { ChangedRange } from '../../../protocol/changes.ts'
import { asVarveError, type VarveError } from '../../../protocol/errors.ts'
import type { LostRange } from '../../../protocol/maintenance.ts'
import { everyRow } from '../../../protocol/paging.ts'
import type { Link } from '../net/link.ts'

/** Pages of one answer that are read; with as few cells as a raster has there are hardly two. */
const PAGES_MAX = 64

/** Answers that are kept, and how many are asked for at once: a film runs over the same points again and again. */
const KEPT_MAX = 512
const AT_ONCE = 2

export interface ChangesAsked {
  /** Null for an empty disk. */
  readonly from: string | null
  readonly to: string
  readonly disk: string
  readonly offset: number
  /** Null for the rest of the disk. */
  readonly bytes: number | null
  readonly granularity: number
}

export interface Changes {
  readonly size: number
  readonly fromSize: number | null
  readonly granularity: number
  readonly ranges: readonly ChangedRange[]
  /** Where it was given up for length; null where all was read. */
  readonly cutAt: number | null
}

/** All pages of an answer. */
export const readChanges = async (link: Pick<Link, 'call'>, asked: ChangesAsked): Promise<Changes> => {
  const ranges: ChangedRange[] = []
  const end = asked.bytes === null ? null : asked.offset + asked.bytes
  for (let offset = asked.offset, pages = 1; ; pages += 1) {
    const page = await link.call('points.changes', {
      ...asked,
      offset,
      bytes: end === null ? null : end - offset,
    })
    ranges.push(...page.ranges)
    const { size, fromSize, granularity, next } = page
    if (next === null || pages === PAGES_MAX || (end !== null && next >= end))
      return { size, fromSize, granularity, ranges, cutAt: pages === PAGES_MAX ? next : null }
    offset = next
  }
}

/** What became of a question. */
export type Answer =
  | { readonly kind: 'waiting' }
  | { readonly kind: 'known'; readonly changes: Changes }
  | { readonly kind: 'failed'; readonly error: VarveError; readonly opening: number }

const WAITING: Answer = { kind: 'waiting' }

/** Answers by their questions: points never change, so that what was read once is so for ever. */
export class ChangesBook {
  readonly #link: Pick<Link, 'call' | 'openings'>
  readonly #answers = new Map<string, Signal<Answer>>()
  readonly #waiting: (() => Promise<void>)[] = []
  #running = 0

  constructor(link: Pick<Link, 'call' | 'openings'>) {
    this.#link = link
  }

  /** The answer, asked for if it was not yet, or if that failed and the connection was opened again since. */
  ask(asked: ChangesAsked): ReadonlySignal<Answer> {
    const name = JSON.stringify([asked.from, asked.to, asked.disk, asked.offset, asked.bytes, asked.granularity])
    const kept = this.#answers.get(name)
    const opening = this.#link.openings.value
    const failed = kept?.peek()
    const known = failed?.kind === 'failed' && failed.opening !== opening ? undefined : kept
    // the one that was asked for last is let go last
    if (kept !== undefined) this.#answers.delete(name)
    const answer = known ?? signal<Answer>(WAITING)
    this.#answers.set(name, answer)
    if (this.#answers.size > KEPT_MAX) this.#answers.delete(this.#answers.keys().next().value!)
    if (known === undefined) this.#later(async () => void (answer.value = await this.#read(asked)))
    return answer
  }

  async #read(asked: ChangesAsked): Promise<Answer> {
    try {
      return { kind: 'known', changes: await readChanges(this.#link, asked) }
    } catch (thrown) {
      return { kind: 'failed', error: asVarveError(thrown), opening: this.#link.openings.peek() }
    }
  }

  #later(work: () => Promise<void>): void {
    // who looks now comes before what was scrolled past
    this.#waiting.unshift(work)
    void this.#run()
  }

  async #run(): Promise<void> {
    if (this.#running >= AT_ONCE) return
    this.#running += 1
    for (let work = this.#waiting.shift(); work !== undefined; work = this.#waiting.shift()) await work()
    this.#running -= 1
  }
}

/** What of a disk of a point is known to be lost, whether it changed or not. */
export const lostOf = async (link: Link, point: string, disk: string): Promise<readonly ChangedRange[]> => {
  if (!link.may('points.lost')) return []
  const rows: LostRange[] = await everyRow(
    (after) => link.call('points.lost', after === null ? { point } : { point, after }),
    ({ lost }) => lost,
  )
  return rows
    .filter((row) => row.disk === disk)
    .map(({ offset, length }) => ({ offset, bytes: length, kind: 'damaged' as const }))
}
