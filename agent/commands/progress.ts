// What a long command says on standard error while it works: a line that is rewritten on a terminal, plain lines now and then elsewhere.

/** How often a line on a terminal is rewritten at most, and how often a plain line is printed, in milliseconds. */
const REWRITE_MS = 200
const PLAIN_MS = 30_000

/** What is used of standard error. */
export interface ProgressOutput {
  readonly isTTY?: boolean
  readonly columns?: number
  write(text: string): void
}

export class Progress implements Disposable {
  readonly #wanted: boolean
  readonly #output: ProgressOutput
  readonly #now: () => number
  #width = 0
  #shownMs: number

  /** Nothing is shown unless it is `wanted`; what is told is told in any case. */
  constructor(wanted: boolean, output: ProgressOutput = process.stderr, now = (): number => performance.now()) {
    this.#wanted = wanted
    this.#output = output
    this.#now = now
    // the first plain line tells of work that takes longer than a moment
    this.#shownMs = output.isTTY === true ? Number.NEGATIVE_INFINITY : now()
  }

  /** How far the work is; the text is made only where it is shown. */
  show(text: () => string): void {
    const terminal = this.#output.isTTY === true
    if (!this.#wanted || this.#now() - this.#shownMs < (terminal ? REWRITE_MS : PLAIN_MS)) return
    this.#shownMs = this.#now()
    if (!terminal) return this.#output.write(`varve-agent: ${text()}\n`)
    const line = text().slice(0, (this.#output.columns ?? 80) - 1)
    this.#output.write(`\r${line.padEnd(this.#width)}`)
    this.#width = line.length
  }

  /** A sentence that a person must see, whatever else is shown. */
  tell(sentence: string): void {
    this.clear()
    this.#output.write(`varve-agent: ${sentence}\n`)
  }

  clear(): void {
    if (this.#width > 0) this.#output.write(`\r${' '.repeat(this.#width)}\r`)
    this.#width = 0
  }

  [Symbol.dispose](): void {
    this.clear()
  }
}
