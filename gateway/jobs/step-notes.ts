// What agents said of the steps of their backups, until whoever measures takes it with the end of the job.
import type { Step } from '../../protocol/steps.ts'

/** Jobs whose steps wait to be taken; the oldest ones go. */
export const NOTED_JOBS_MAX = 1000

/** The steps of a job, and when they were told: their times are counted back from then, in milliseconds since 1970. */
export interface NotedSteps {
  readonly toldMs: number
  readonly steps: readonly Step[]
}

const keyOf = (tenant: string, job: string): string => `${tenant} ${job}`

export class StepNotes {
  readonly #max: number
  readonly #notes = new Map<string, NotedSteps>()

  /** None are kept with 0, where nobody measures. */
  constructor(max = NOTED_JOBS_MAX) {
    this.#max = max
  }

  get count(): number {
    return this.#notes.size
  }

  /** Notes the steps of a job of the tenant, by its uuid, while `end` ends the job; where it does not, they are forgotten. */
  async during<R>(tenant: string, job: string, noted: NotedSteps, end: () => Promise<R>): Promise<R> {
    if (this.#max === 0 || noted.steps.length === 0) return await end()
    const key = keyOf(tenant, job)
    this.#notes.delete(key)
    this.#notes.set(key, noted)
    for (const oldest of this.#notes.keys()) {
      if (this.#notes.size <= this.#max) break
      this.#notes.delete(oldest)
    }
    try {
      return await end()
    } catch (thrown) {
      this.#notes.delete(key)
      throw thrown
    }
  }

  /** The steps of a job, once; null where none are known. */
  take(tenant: string, job: string): NotedSteps | null {
    const key = keyOf(tenant, job)
    const noted = this.#notes.get(key) ?? null
    this.#notes.delete(key)
    return noted
  }
}
