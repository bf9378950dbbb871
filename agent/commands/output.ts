// Printing for people and programs: lines, tables, sizes and remarks, and the one JSON document under --json.
import { CommandOutput } from '../../protocol/command-output.ts'
import { EXIT } from '../../protocol/exit.ts'
import { tableLines } from '../../protocol/table.ts'

export { sizeText as size } from '../../protocol/size.ts'

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

/** What a person must know besides the outcome, on standard error. */
export const remark = (sentence: string): void => current.remark(sentence)

/** The answer under --json: an object, printed when the command ends. */
export const printJson = (answer: object): void => current.answer(answer)

/** Rows as aligned columns under a heading. */
export const printTable = (heading: readonly string[], rows: readonly (readonly string[])[]): void =>
  tableLines(heading, rows).forEach(print)

export const localTime = (ms: number): string => new Date(ms).toISOString().replace('T', ' ').slice(0, 19)
