// Keeps the restore point of a machine that runs from the gateway there: says again and again that it is read, and that it is not
// any more. The gateway keeps it for a week without a word, so that a host that is gone does not keep it for ever.
import { asVarveError } from '../../protocol/errors.ts'
import { POINT_USE_MS_MAX } from '../../protocol/limits.ts'
import type { Point } from '../../protocol/schemas.ts'
import type { GatewayLink } from '../session/link.ts'
import type { InstantState } from './control.ts'

/** How often it is said, in milliseconds. */
const RENEW_MS = 60 * 60_000

/** How long the gateway may take to answer, in milliseconds. */
const ANSWER_MS = 60_000

/** How long it may take where nothing waits for it but the end, in milliseconds. */
const END_MS = 5_000

export interface UsedPoint {
  /** The use's id: the same in every process that serves these disks. */
  readonly use: string
  readonly point: string
  /** As it was told last; null where it was not. */
  readonly untilMs: number | null
}

export class PointUse {
  /** Whether the point stays, as far as is known. */
  kept: InstantState['kept'] = 'unknown'
  /** Until when it stays without another word, by the gateway's clock. */
  untilMs: number | null
  readonly #of: UsedPoint
  #dueMs = 0

  constructor(of: UsedPoint) {
    this.#of = of
    this.untilMs = of.untilMs
  }

  /** Says it where that is due. What the gateway refuses is seen in `kept`; an error is one of the connection. */
  async keep(link: GatewayLink, signal: AbortSignal): Promise<Point | null> {
    if (performance.now() >= this.#dueMs)
      try {
        this.untilMs = (await this.#call(link, POINT_USE_MS_MAX, signal, ANSWER_MS)).untilMs
        this.#dueMs = performance.now() + RENEW_MS
      } catch (thrown) {
        if (asVarveError(thrown).endsConnection || signal.aborted) throw thrown
        this.untilMs = null
      }
    try {
      const { point } = await link.call('points.get', { point: this.#of.point }, signal, ANSWER_MS)
      const until = Math.max(point.lockedUntilMs ?? 0, point.usedUntilMs ?? 0)
      this.kept = point.held || until > Date.now() ? 'kept' : 'prunable'
      return point
    } catch (thrown) {
      if (asVarveError(thrown).code !== 'NOT_FOUND') throw thrown
      this.kept = 'removed'
      return null
    }
  }

  /** Nothing is read any more. A gateway that cannot be told ends the use by itself. */
  async end(link: GatewayLink): Promise<void> {
    if (this.untilMs === null) return
    const signal = AbortSignal.timeout(END_MS)
    await this.#call(link, 0, signal, END_MS).catch(() => undefined)
    this.untilMs = null
  }

  #call(link: GatewayLink, ttlMs: number, signal: AbortSignal, awayMs: number): Promise<{ readonly untilMs: number }> {
    const { use, point } = this.#of
    return link.call('points.use', { use, point, ttlMs }, signal, awayMs)
  }
}
