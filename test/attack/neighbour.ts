// The times of another tenant's calls and backups, gathered phase by phase.
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import type { Timed } from './neighbour-process.ts'

/** Times of one kind in one phase, in milliseconds. */
export interface Times {
  readonly count: number
  readonly p50: number
  readonly max: number
  /** Codes of what failed. */
  readonly failures: readonly string[]
}

const timesOf = (all: readonly Timed[]): Times => {
  const sorted = all.map(({ ms }) => ms).sort((a, b) => a - b)
  return {
    count: all.length,
    p50: sorted[Math.floor(sorted.length / 2)] ?? 0,
    max: sorted.at(-1) ?? 0,
    failures: all.flatMap(({ error }) => (error === null ? [] : [error])),
  }
}

/** Disposing it ends its process. */
export class Neighbour implements AsyncDisposable {
  readonly #child: ChildProcess
  #seen: Timed[] = []
  #wake: () => void = () => {}
  #over = false

  constructor(url: string, state: string) {
    this.#child = fork(path.join(import.meta.dirname, 'neighbour-process.ts'), [url, state])
    this.#child.on('message', (timed) => {
      this.#seen.push(timed as Timed)
      this.#wake()
    })
    this.#child.once('exit', () => {
      this.#over = true
      this.#wake()
    })
  }

  /** False once its connection or process has ended. */
  get alive(): boolean {
    return !this.#over
  }

  /** Waits until so many backups of this phase have ended, or its process has; false after the limit. */
  async backups(count: number, limitMs: number): Promise<boolean> {
    const endMs = performance.now() + limitMs
    while (!this.#over && this.#seen.filter(({ kind }) => kind === 'backup').length < count) {
      const leftMs = endMs - performance.now()
      if (leftMs <= 0) return false
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, leftMs)
        this.#wake = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
    return !this.#over
  }

  /** What ended since the last call of this. */
  take(): { readonly calls: Times; readonly backups: Times } {
    const seen = this.#seen
    this.#seen = []
    return {
      calls: timesOf(seen.filter(({ kind }) => kind === 'call')),
      backups: timesOf(seen.filter(({ kind }) => kind === 'backup')),
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#over) return
    const exited = once(this.#child, 'exit')
    this.#child.kill()
    await exited
  }
}
