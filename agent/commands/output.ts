// Printing for people and programs: JSON lines, tables and sizes.
import { EXIT } from '../../protocol/exit.ts'
import { tableLines } from '../../protocol/table.ts'

export { sizeText as size } from '../../protocol/size.ts'

/** Lets go what nobody reads any more (`| head`): the work goes on to its end. Output that fails otherwise is told once, and ends the program with 1. */
export const watchOutput = (): void => {
  let told = false
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (told || error.code === 'EPIPE') return
    told = true
    process.stderr.write(`varve-agent: not all output could be written: ${error.message} (INTERNAL)\n`)
    process.exitCode ||= EXIT.failed
  })
  process.stderr.on('error', () => {})
}

export const print = (line: string): void => void process.stdout.write(`${line}\n`)

export const printJson = (value: unknown): void => print(JSON.stringify(value))

/** Rows as aligned columns under a heading. */
export const printTable = (heading: readonly string[], rows: readonly (readonly string[])[]): void =>
  tableLines(heading, rows).forEach(print)

export const localTime = (ms: number): string => new Date(ms).toISOString().replace('T', ' ').slice(0, 19)
