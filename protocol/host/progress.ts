// Progress of a long command on standard error: a line rewritten in place on a terminal, else periodic plain lines.

/** How often a line on a terminal is rewritten at most, and how often a plain line is printed, in milliseconds. */
const REWRITE_MS = 200
const PLAIN_MS = 30_000

/** The part of standard error that is used. */
export interface ProgressOutput {
  readonly isTTY?: boolean
  readonly columns?: number
  write(text: string): void
}

/** A line that is rewritten in place; silent unless it is on a terminal. */
export class ProgressLine implements Disposable {
  readonly #output: ProgressOutput
  #width = 0

  constructor(output: ProgressOutput) {
    this.#output = output
  }

  show(text: string): void {
    if (this.#output.isTTY !== true) return
    const line = text.slice(0, (this.#output.columns ?? 80) - 1)
    this.#output.write(`\r${line.padEnd(this.#width)}`)
    this.#width = line.length
  }

  clear(): void {
    if (this.#width > 0) this.#output.write(`\r${' '.repeat(this.#width)}\r`)
    this.#width = 0
  }

  [Symbol.dispose](): void {
    this.clear()
  }
}

export class Progress implements Disposable {
  readonly #program: string
  readonly #wanted: boolean
  readonly #output: ProgressOutput
  readonly #now: () => number
  readonly #line: ProgressLine
  #shownMs: number

  /** Progress is shown only if `wanted`; messages always are. */
  constructor(
    program: string,
    wanted: boolean,
    output: ProgressOutput = process.stderr,
    now = (): number => performance.now(),
  ) {
    this.#program = program
    this.#wanted = wanted
    this.#output = output
    this.#now = now
    this.#line = new ProgressLine(output)
    // the first plain line appears only for work that takes a while
    this.#shownMs = output.isTTY === true ? Number.NEGATIVE_INFINITY : now()
  }

  /** Shows progress; the text is made only where it is shown. */
  show(text: () => string): void {
    const terminal = this.#output.isTTY === true
    if (!this.#wanted || this.#now() - this.#shownMs < (terminal ? REWRITE_MS : PLAIN_MS)) return
    this.#shownMs = this.#now()
    if (terminal) this.#line.show(text())
    else this.#output.write(`${this.#program}: ${text()}\n`)
  }

  /** Prints a message that must be seen, whatever else is shown. */
  tell(sentence: string): void {
    this.clear()
    this.#output.write(`${this.#program}: ${sentence}\n`)
  }

  clear(): void {
    this.#line.clear()
  }

  [Symbol.dispose](): void {
    this.clear()
  }
}
