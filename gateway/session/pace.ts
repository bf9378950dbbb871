// How fast callers are read: a caller that sends more small frames than any client needs is throttled, and no other caller is.
import { FRAME } from '../../protocol/frames.ts'

/** Time that one frame costs its caller, in milliseconds: 2,000 a second can be sustained. */
export const FRAME_MS = 0.5

/** Time that a caller may be ahead, in milliseconds: so many frames at once cost nothing. */
export const AHEAD_MS = 1000

/** Pauses shorter than this are not worth a timer, in milliseconds. */
const PAUSE_MS_MIN = 20

/** Longest pause of one session, in milliseconds: shorter than the silence after which a connection ends. */
export const PAUSE_MS_MAX = 30_000

/** Whether it is one of those that streams have credit for; their types are one byte behind that of the frame's length. */
const isData = (frame: Uint8Array): boolean => frame[1] === FRAME.data

/** The pace of one caller, the same for all of its sessions. */
export class Pace {
  /** Until when the frames so far are paid for. */
  #paidMs = -Infinity
  sessions = 0

  /** How long the session that brought this frame is not to be read, in milliseconds. */
  pauseMs(frame: Uint8Array, nowMs: number): number {
    if (isData(frame)) return 0
    this.#paidMs = Math.max(this.#paidMs, nowMs - AHEAD_MS) + FRAME_MS
    const aheadMs = this.#paidMs - nowMs
    return aheadMs < PAUSE_MS_MIN ? 0 : Math.min(aheadMs, PAUSE_MS_MAX)
  }
}

/** Paces by caller, of those that have sessions. */
export class Paces {
  readonly #paces = new Map<string, Pace>()

  get count(): number {
    return this.#paces.size
  }

  /** The pace of one more session of this caller, to be given back by `leave`. */
  enter(caller: string): Pace {
    const pace = this.#paces.get(caller) ?? new Pace()
    this.#paces.set(caller, pace)
    pace.sessions++
    return pace
  }

  leave(caller: string): void {
    const pace = this.#paces.get(caller)
    if (pace !== undefined && --pace.sessions === 0) this.#paces.delete(caller)
  }
}
