// The course of each running job, as this process has seen it and its agent has told: where it is, and what it waits for.
import type { BackupStep, JobLimit } from '../../protocol/backup.ts'
import type { Clock } from '../../protocol/peer.ts'
import type { Spent } from '../../protocol/steps.ts'
import { Hand } from '../chains/hand.ts'
import { limitOf } from './limit.ts'

/** What an agent said is too old to be shown after so many milliseconds. */
export const TOLD_LIFE_MS = 10_000

/** The least stretch from which is judged what an agent that tells nothing waits for, in milliseconds. */
const ALONE_MS_MIN = 3000

/** How a job goes on just now. */
export interface CourseLook {
  /** The agent has accepted it. */
  readonly accepted: boolean
  /** What the agent does, as it said last; null where it said nothing. */
  readonly step: BackupStep | null
  readonly limit: JobLimit | null
  /** How often an upload went on after a break, and when the last one did, in milliseconds since 1970. */
  readonly resumes: number
  readonly resumedMs: number | null
}

/** Of a job that this process knows nothing of: it was started before it. */
const UNKNOWN: CourseLook = { accepted: true, step: null, limit: null, resumes: 0, resumedMs: null }

interface Course {
  accepted: boolean
  step: BackupStep | null
  limit: JobLimit | null
  /** When its agent told last, by the clock that never goes back; null where it never did. */
  toldMs: number | null
  resumes: number
  resumedMs: number | null
  readonly hand: Hand
  /** Disks whose upload was begun before. */
  readonly uploaded: Set<string>
}

export class Courses {
  readonly #clock: Clock
  readonly #courses = new Map<string, Course>()
  #forgotten = 0

  constructor(clock: Clock) {
    this.#clock = clock
  }

  get count(): number {
    return this.#courses.size
  }

  /** How many jobs were forgotten: whether one may have ended while something was waited for. */
  get forgotten(): number {
    return this.#forgotten
  }

  has(job: string): boolean {
    return this.#courses.has(job)
  }

  /** A job was opened here; its agent has not accepted it yet. */
  asked(job: string): void {
    this.#of(job).accepted = false
  }

  /** Nothing for a job that has ended meanwhile. */
  accepted(job: string): void {
    const course = this.#courses.get(job)
    if (course !== undefined) course.accepted = true
  }

  /** What an agent said of a running job. */
  told(job: string, { step, spent }: { readonly step: BackupStep | null; readonly spent: Spent | null }): void {
    const course = this.#of(job)
    course.accepted = true
    course.step = step
    course.toldMs = this.#clock.elapsed()
    const held = course.hand.stretch()
    course.limit = spent === null ? null : limitOf(spent, held)
  }

  /** The upload of a disk begins at this chunk: again where it was begun before, here or by an earlier process. */
  uploading(job: string, disk: string, position: number): Hand {
    const course = this.#of(job)
    if (course.uploaded.has(disk) || position > 0) {
      course.resumes++
      course.resumedMs = this.#clock.now()
    }
    course.uploaded.add(disk)
    return course.hand
  }

  look(job: string): CourseLook {
    const course = this.#courses.get(job)
    if (course === undefined) return UNKNOWN
    const { accepted, step, resumes, resumedMs } = course
    return { accepted, step, limit: this.#limit(course), resumes, resumedMs }
  }

  forget(job: string): void {
    this.#courses.delete(job)
    this.#forgotten++
  }

  #limit(course: Course): JobLimit | null {
    const { toldMs, hand } = course
    if (toldMs !== null) return this.#clock.elapsed() - toldMs <= TOLD_LIFE_MS ? course.limit : null
    if (hand.overMs >= ALONE_MS_MIN) course.limit = limitOf(null, hand.stretch())
    return course.limit
  }

  #of(job: string): Course {
    const known = this.#courses.get(job)
    if (known !== undefined) return known
    const course: Course = {
      accepted: true,
      step: null,
      limit: null,
      toldMs: null,
      resumes: 0,
      resumedMs: null,
      hand: new Hand(this.#clock),
      uploaded: new Set(),
    }
    this.#courses.set(job, course)
    return course
  }
}
