// Printing for people and programs: lines, tables, sizes, the one JSON document under --json, and a progress line where someone is watching.
import { CommandOutput } from '../../protocol/command-output.ts'
import { EXIT } from '../../protocol/exit.ts'
import { tableLines } from '../../protocol/table.ts'

const PROGRAM = 'varve-agent'

const streams = {
  out: (text: string): void => void process.stdout.write(text),
  err: (text: string): void => void process.stderr.write(text),
}

let current = new CommandOutput(PROGRAM, [], streams)

/** Begins a run with these arguments; what is printed from now on is its output. */
export const beginOutput = (args: readonly string[]): CommandOutput =>
  (current = new CommandOutput(PROGRAM, args, streams))

/** Lets go what nobody reads any more (`| head`): the work goes on to its end. Output that fails otherwise is told once, and ends the program with 1. */
export const watchOutput = (): void => {
  let told = false
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (told || error.code === 'EPIPE') return
    told = true
    process.stderr.write(`varve-agent: not all output could be written: ${error.message}\n`)
    process.exitCode ||= EXIT.failed
  })
  process.stderr.on('error', () => {})
}

export const print = (line: string): void => current.print(line)

/** The answer under --json: an object, printed when the command ends. */
export const printJson = (answer: object): void => current.answer(answer)

/** Rows as aligned columns under a heading. */
export const printTable = (heading: readonly string[], rows: readonly (readonly string[])[]): void =>
  tableLines(heading, rows).forEach(print)

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB']

/** A size as people read it, such as `1.5 GiB`. */
export const size = (bytes: number): string => {
  let value = bytes
  let unit = 0
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024
    unit++
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${UNITS[unit]}`
}

export const localTime = (ms: number): string => new Date(ms).toISOString().replace('T', ' ').slice(0, 19)

/** A line on standard error that is rewritten in place; silent unless it is a terminal. */
export class Progress implements Disposable {
  readonly #shown: boolean
  #width = 0

  constructor(wanted: boolean) {
    this.#shown = wanted && process.stderr.isTTY
  }

  show(text: string): void {
    if (!this.#shown) return
    const line = text.slice(0, (process.stderr.columns ?? 80) - 1)
    process.stderr.write(`\r${line.padEnd(this.#width)}`)
    this.#width = line.length
  }

  [Symbol.dispose](): void {
    if (this.#width > 0) process.stderr.write(`\r${' '.repeat(this.#width)}\r`)
    this.#width = 0
  }
}
