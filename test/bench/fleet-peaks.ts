// Memory and CPU time of long-running processes while something goes on that is not one command.
import type { Watched } from './measure.ts'
import { cpuTimes, descendants, minus, peakBytes, plus, resetPeak, type CpuTime } from './process-use.ts'

/** Pause between two looks, in milliseconds: helper processes may end between them. */
const LOOK_INTERVAL_MS = 100

export interface Use {
  readonly name: string
  readonly cpuSeconds: number
  /** Of the process itself, in bytes. */
  readonly peakBytes: number
  /** With its helper processes, whose shared pages count again, in bytes. */
  readonly familyPeakBytes: number
}

const familyTime = async (pid: number): Promise<CpuTime> => {
  const { own, children } = await cpuTimes(pid)
  return plus(own, children)
}

/** Watches processes from `start` to `end`. */
export class Watch {
  readonly #watched: readonly Watched[]
  readonly #before: readonly CpuTime[]
  readonly #own: number[]
  readonly #family: number[]
  readonly #looking: Promise<void>
  #over = false

  private constructor(watched: readonly Watched[], before: readonly CpuTime[]) {
    this.#watched = watched
    this.#before = before
    this.#own = watched.map(() => 0)
    this.#family = watched.map(() => 0)
    this.#looking = this.#look()
  }

  static async start(watched: readonly Watched[]): Promise<Watch> {
    await Promise.all(watched.map(({ pid }) => resetPeak(pid)))
    return new Watch(watched, await Promise.all(watched.map(({ pid }) => familyTime(pid))))
  }

  async end(): Promise<Use[]> {
    this.#over = true
    await this.#looking
    const after = await Promise.all(this.#watched.map(({ pid }) => familyTime(pid)))
    return this.#watched.map(({ name }, index) => ({
      name,
      cpuSeconds: minus(after[index]!, this.#before[index]!).total,
      peakBytes: this.#own[index]!,
      familyPeakBytes: this.#family[index]!,
    }))
  }

  async #look(): Promise<void> {
    for (;;) {
      const last = this.#over
      for (const [index, { pid }] of this.#watched.entries()) {
        const own = (await peakBytes(pid)) ?? 0
        const helpers = await Promise.all((await descendants(pid)).map(peakBytes))
        const family = helpers.reduce((sum: number, bytes) => sum + (bytes ?? 0), own)
        this.#own[index] = Math.max(this.#own[index]!, own)
        this.#family[index] = Math.max(this.#family[index]!, family)
      }
      if (last) return
      await new Promise((resolve) => void setTimeout(resolve, LOOK_INTERVAL_MS))
    }
  }
}
