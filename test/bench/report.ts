// Writes a run's results: a table for people, and everything that was measured as JSON.
import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import type { Host } from './host.ts'
import type { ProcessUse } from './measure.ts'
import type { BenchImage } from './image.ts'
import type { Sample } from './recorder.ts'
import type { Ratio, Summary } from './statistics.ts'

/** Above this part of the machine's time taken by others, an operation's figures are marked. */
const DISTURBED_SHARE = 0.15

export interface Results {
  /** What was measured, as in the file names. */
  readonly what: string
  /** When the run began, ISO 8601. */
  readonly time: string
  readonly rounds: number
  readonly host: Host
  readonly image: Pick<BenchImage, 'size' | 'files' | 'fileBytes' | 'allocatedBytes'>
  readonly summaries: readonly Summary[]
  readonly ratios: readonly Ratio[]
  readonly samples: readonly Sample[]
}

const MIB = 2 ** 20
const GIB = 2 ** 30

const mebibytes = (bytes: number): string => (bytes / MIB).toFixed(bytes < 10 * MIB ? 2 : 0)
const cell = (value: number | undefined): string => (value === undefined ? '' : mebibytes(value))
const gibibytes = (bytes: number): string => `${(bytes / GIB).toFixed(1)} GiB`

/** A Markdown table whose columns also line up as plain text; all columns but the first are aligned to the right. */
export const table = (heading: readonly string[], rows: readonly (readonly string[])[]): string => {
  const widths = heading.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)))
  const pad = (cell: string, column: number): string =>
    column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0)
  const line = (cells: readonly string[]): string => `| ${cells.map(pad).join(' | ')} |`
  const rule = widths.map((width, column) => (column === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`))
  return [line(heading), line(rule), ...rows.map(line)].join('\n')
}

const cpuText = ({ name, cpuSeconds, systemCpuSeconds }: ProcessUse): string =>
  `${name} ${cpuSeconds.toFixed(1)} (${systemCpuSeconds.toFixed(1)})`

const isDisturbed = ({ otherCpuSeconds, seconds }: Summary, cores: number): boolean =>
  otherCpuSeconds > DISTURBED_SHARE * seconds.median * cores

const timesTable = ({ summaries, host }: Results): string => {
  const rows = summaries.map((summary) => {
    const { title, seconds, processes, otherCpuSeconds } = summary
    const spread = summary.rounds > 1 ? `${seconds.least.toFixed(2)}–${seconds.most.toFixed(2)}` : ''
    const cpu = processes.map(cpuText).join(', ')
    const peak = processes.map(({ name, peakBytes }) => `${name} ${mebibytes(peakBytes)}`).join(', ')
    const mark = isDisturbed(summary, host.cores) ? ' (!)' : ''
    return [title, seconds.median.toFixed(2), spread, cpu, peak, `${otherCpuSeconds.toFixed(2)}${mark}`]
  })
  return table(
    ['operation', 'seconds', 'least–most', 'CPU seconds (in the kernel)', 'peak memory, MiB', 'CPU of others'],
    rows,
  )
}

const bytesTable = ({ summaries }: Results): string => {
  const backups = summaries.filter(({ figures }) => figures.bytesSent !== undefined)
  const rows = backups.map(({ title, figures }) => [
    title,
    cell(figures.dirtyBytes),
    cell(figures.bytesRead),
    cell(figures.bytesSent),
    cell(figures.bytesStored),
    cell(figures.compressedChunkBytes),
    cell(figures.compressedWideChunkBytes),
  ])
  const heading = ['MiB', 'changed', 'read', 'sent', 'stored', 'floor: 64 KiB chunks', 'of 4 MiB chunks']
  return table(heading, rows)
}

const ratioTable = ({ ratios }: Results): string =>
  table(
    ['ratio', 'measured', 'goal', 'met'],
    ratios.map(({ title, value, goal, met }) => [
      title,
      value.toFixed(2),
      'atMost' in goal ? `at most ${goal.atMost}` : `at least ${goal.atLeast}`,
      met ? 'yes' : 'no',
    ]),
  )

/** Says how far the times can be trusted. */
const disturbanceText = ({ summaries, host }: Results): string => {
  const disturbed = summaries.filter((summary) => isDisturbed(summary, host.cores)).length
  if (disturbed === 0) return 'The machine was otherwise idle.'
  const count = `${disturbed} of ${summaries.length}`
  return `**The machine was busy with other work in ${count} operations, marked (!): their times, and ratios of times, are not
dependable. Memory and bytes are, CPU seconds roughly so.**`
}

/** The machine in a few lines. */
const hostText = (host: Host): string => {
  const versions = Object.entries(host.versions).map(([name, version]) => `${name} ${version}`)
  return [
    `${host.cpu}, ${host.cores} cores, ${gibibytes(host.memoryBytes)} memory, ${host.fileSystem};`,
    `${host.system}, Linux ${host.kernel} ${host.architecture}; ${versions.join(', ')}.`,
    `Varve at ${host.commit}. Load before the start: ${host.loadBefore}.`,
  ].join('\n')
}

export const resultsText = (results: Results): string => {
  const { what, time, rounds, image, host } = results
  return `# ${what}, ${time.slice(0, 10)}

${hostText(host)}

A disk of ${gibibytes(image.size)} with ${image.files} files of the machine's own programs and libraries, ${gibibytes(image.fileBytes)};
${gibibytes(image.allocatedBytes)} of the raw image are not holes. ${rounds === 1 ? 'One round.' : `Medians of ${rounds} rounds.`}

${disturbanceText(results)}

${timesTable(results)}

${bytesTable(results)}

${ratioTable(results)}

A time runs from the start of the command to its end and a sync of the file system. Gateway, agent and QEMU are processes of
their own on this machine, connected by plain WebSocket on loopback; the page cache is warm. Peak memory is resident memory with
shared pages. "CPU of others" is what the rest of the machine took meanwhile, kernel threads included; (!) marks
operations where it was more than ${DISTURBED_SHARE * 100} % of the machine. Floor: what the changed chunks take when compressed with zstd 1.
`
}

/** Writes NAME.json and NAME.md, NAME being the date and what was measured; gives their path without the ending. */
export const writeResults = async (folder: string, results: Results): Promise<string> => {
  await mkdir(folder, { recursive: true })
  const name = path.join(folder, `${results.time.slice(0, 10)}-${results.what}`)
  await writeFile(`${name}.json`, `${JSON.stringify(results, null, 2)}\n`)
  await writeFile(`${name}.md`, resultsText(results))
  return name
}
