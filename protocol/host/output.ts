// What a program prints in this run: lines, tables, remarks, and the one JSON document under --json.
import { CommandOutput } from './command-output.ts'
import { EXIT } from './exit.ts'
import { tableLines } from './table.ts'

const streams = {
  out: (text: string): void => void process.stdout.write(text),
  err: (text: string): void => void process.stderr.write(text),
}

let current = new CommandOutput('varve', [], streams)

/** Begins a run of a program with these arguments, to which all later output belongs. */
export const beginOutput = (program: string, args: readonly string[]): CommandOutput =>
  (current = new CommandOutput(program, args, streams))

/** Ignores EPIPE (`| head`): the work continues. Any other output error is reported once, and makes the exit code 1. */
export const watchOutput = (program: string): void => {
  let told = false
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (told || error.code === 'EPIPE') return
    told = true
    process.stderr.write(`${program}: not all output could be written: ${error.message}\n`)
    process.exitCode ||= EXIT.failed
  })
  process.stderr.on('error', () => {})
}

export const print = (line: string): void => current.print(line)

/** A remark for people besides the outcome, on standard error. */
export const remark = (sentence: string): void => current.remark(sentence)

/** The answer under --json: an object, printed when the command ends. */
export const printJson = (answer: object): void => current.answer(answer)

/** Rows of a list under --json, printed as they come. */
export const printRows = (field: string, rows: readonly object[]): void => current.rows(field, rows)

/** Rows as aligned columns under a heading. */
export const printTable = (heading: readonly string[], rows: readonly (readonly string[])[]): void =>
  tableLines(heading, rows).forEach(print)
