// Memory and CPU time of long-running processes while something goes on that is not one command.
import type { Watched } from './measure.ts'
import { cpuTimes, descendants, minus, peakBytes, plus, processMemory, resetPeak, type CpuTime } from './process-use.ts'
import { median } from './statistics.ts'

/** Pause between two looks, in milliseconds: helper processes may end between them. */
const LOOK_INTERVAL_MS = 100

export interface Use {
  readonly name: string
  readonly cpuSeconds: number
  /** Of the process itself, in bytes. */
  readonly peakBytes: number
  /** With its helper processes, whose shared pages count again, in bytes. */
  readonly familyPeakBytes: number
  /** What the process itself had in the first, the middle and the last third of the time, medians in bytes. */
  readonly thirdBytes: readonly [first: number, middle: number, last: number]
}

/** Medians of the first, the middle and the last third of some values. */
const thirds = (values: readonly number[]): Use['thirdBytes'] => {
  const part = (index: number): number =>
    median(values.slice(Math.floor((index * values.length) / 3), Math.ceil(((index + 1) * values.length) / 3)))
  return [part(0), part(1), part(2)]
}

const familyTime = async (pid: number): Promise<CpuTime> => {
  const { own, children } = await cpuTimes(pid)
  return plus(own, children)
}

/** Watches processes from `start` to `end`, or until it is disposed. */
export class Watch implements AsyncDisposable {
  readonly #watched: readonly Watched[]
  readonly #before: readonly CpuTime[]
  readonly #own: number[]
  readonly #family: number[]
  readonly #resident: number[][]
  readonly #looking: Promise<void>
  #over = false

  private constructor(watched: readonly Watched[], before: readonly CpuTime[]) {
    this.#watched = watched
    this.#before = before
    this.#own = watched.map(() => 0)
    this.#family = watched.map(() => 0)
    this.#resident = watched.map(() => [])
    this.#looking = this.#look()
  }

  static async start(watched: readonly Watched[]): Promise<Watch> {
    await Promise.all(watched.map(({ pid }) => resetPeak(pid)))
    return new Watch(watched, await Promise.all(watched.map(({ pid }) => familyTime(pid))))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over = true
    await this.#looking
  }

  async end(): Promise<Use[]> {
    await this[Symbol.asyncDispose]()
    const after = await Promise.all(this.#watched.map(({ pid }) => familyTime(pid)))
    return this.#watched.map(({ name }, index) => ({
      name,
      cpuSeconds: minus(after[index]!, this.#before[index]!).total,
      peakBytes: this.#own[index]!,
      familyPeakBytes: this.#family[index]!,
      thirdBytes: thirds(this.#resident[index]!),
    }))
  }

  async #look(): Promise<void> {
    for (;;) {
      const last = this.#over
      for (const [index, { pid }] of this.#watched.entries()) {
        const memory = await processMemory(pid)
        const own = memory?.peakBytes ?? 0
        if (memory !== null) this.#resident[index]!.push(memory.nowBytes)
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
