// Writes a scenario's results: tables for people, and everything that was measured as JSON.
import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import type { Host } from './host.ts'
import type { Goal, Report } from './scenario.ts'

export interface Results {
  /** What was measured, as in the file names. */
  readonly what: string
  /** In the heading. */
  readonly title: string
  /** When the run began, ISO 8601. */
  readonly time: string
  readonly rounds: number
  readonly host: Host
  readonly report: Report
}

const GIB = 2 ** 30

export const gibibytes = (bytes: number): string => `${(bytes / GIB).toFixed(1)} GiB`

/** A Markdown table whose columns also line up as plain text; all columns but the first are aligned to the right. */
export const table = (heading: readonly string[], rows: readonly (readonly string[])[]): string => {
  const widths = heading.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)))
  const pad = (cell: string, column: number): string =>
    column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0)
  const line = (cells: readonly string[]): string => `| ${cells.map(pad).join(' | ')} |`
  const rule = widths.map((width, column) => (column === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`))
  return [line(heading), line(rule), ...rows.map(line)].join('\n')
}

const limitText = (goal: Goal['goal'], unit: string): string => {
  if (goal === null) return 'reported'
  return ('atMost' in goal ? `at most ${goal.atMost}` : `at least ${goal.atLeast}`) + unit
}

const goalTable = (goals: readonly Goal[]): string =>
  table(
    ['goal', 'measured', 'goal', 'met'],
    goals.map(({ title, value, goal, met, unit }) => {
      const suffix = unit === undefined ? '' : ` ${unit}`
      return [title, value.toFixed(2) + suffix, limitText(goal, suffix), met === null ? '' : met ? 'yes' : 'no']
    }),
  )

/** The machine in a few lines. */
const hostText = (host: Host): string => {
  const versions = Object.entries(host.versions).map(([name, version]) => `${name} ${version}`)
  return [
    `${host.cpu}, ${host.cores} cores, ${gibibytes(host.memoryBytes)} memory, ${host.fileSystem};`,
    `${host.system}, Linux ${host.kernel} ${host.architecture}; ${versions.join(', ')}.`,
    `Varve at ${host.commit}. Load before the start: ${host.loadBefore}.`,
  ].join('\n')
}

export const resultsText = ({ what, title, time, rounds, host, report }: Results): string => {
  const { goals, tables, notes } = report
  const parts = [
    `# ${what}, ${time.slice(0, 10)}: ${title}`,
    hostText(host),
    rounds === 1 ? 'One round.' : `${rounds} rounds; medians unless told otherwise.`,
    ...(goals.length === 0 ? [] : [goalTable(goals)]),
    ...tables.map((one) => `## ${one.title}\n\n${table(one.heading, one.rows)}`),
    ...(notes.length === 0 ? [] : ['## Notes', ...notes]),
  ]
  return `${parts.join('\n\n')}\n`
}

/** Writes NAME.json and NAME.md, NAME being the date and what was measured; gives their path without the ending. */
export const writeResults = async (folder: string, results: Results): Promise<string> => {
  await mkdir(folder, { recursive: true })
  const { what, time, rounds, host, report } = results
  const { goals, notes, details } = report
  const name = path.join(folder, `${time.slice(0, 10)}-${what}`)
  await writeFile(`${name}.json`, `${JSON.stringify({ what, time, rounds, host, goals, notes, details }, null, 2)}\n`)
  await writeFile(`${name}.md`, resultsText(results))
  return name
}
