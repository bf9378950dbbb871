// The tables of the data path: times, CPU and memory of every operation, and the bytes of ours.
import type { ProcessUse } from './measure.ts'
import type { Table } from './scenario.ts'
import { DISTURBED_SHARE, isDisturbed, type Summary } from './statistics.ts'

const MIB = 2 ** 20

const mebibytes = (bytes: number): string => (bytes / MIB).toFixed(bytes < 10 * MIB ? 2 : 0)
const cell = (value: number | undefined): string => (value === undefined ? '' : mebibytes(value))

const cpuText = ({ name, cpuSeconds, systemCpuSeconds }: ProcessUse): string =>
  `${name} ${cpuSeconds.toFixed(1)} (${systemCpuSeconds.toFixed(1)})`

const timesRow = (summary: Summary<string>, cores: number): string[] => {
  const { title, seconds, processes, otherCpuSeconds } = summary
  const spread = summary.rounds > 1 ? `${seconds.least.toFixed(2)}–${seconds.most.toFixed(2)}` : ''
  const cpu = processes.map(cpuText).join(', ')
  const peak = processes.map(({ name, peakBytes }) => `${name} ${mebibytes(peakBytes)}`).join(', ')
  const mark = isDisturbed(summary, cores) ? ' (!)' : ''
  return [title, seconds.median.toFixed(2), spread, cpu, peak, `${otherCpuSeconds.toFixed(2)}${mark}`]
}

/** (!) marks where the rest of the machine was busy; `absent` names what could not be measured. */
export const timesTable = (
  summaries: readonly Summary<string>[],
  cores: number,
  absent: readonly string[] = [],
): Table => ({
  title: 'Times',
  heading: ['operation', 'seconds', 'least–most', 'CPU seconds (in the kernel)', 'peak memory, MiB', 'CPU of others'],
  rows: [
    ...summaries.map((summary) => timesRow(summary, cores)),
    ...absent.map((title) => [title, 'not available', '', '', '', '']),
  ],
})

/** Bytes of backups. */
export const bytesTable = (summaries: readonly Summary[]): Table => ({
  title: 'Bytes',
  heading: ['MiB', 'changed', 'read', 'sent', 'stored', 'floor: 64 KiB chunks', 'of 4 MiB chunks'],
  rows: summaries
    .filter(({ figures }) => figures.bytesSent !== undefined)
    .map(({ title, figures }) => [
      title,
      cell(figures.changedBytes),
      cell(figures.bytesRead),
      cell(figures.bytesSent),
      cell(figures.bytesStored),
      cell(figures.compressedChunkBytes),
      cell(figures.compressedWideChunkBytes),
    ]),
})

/** Says how far the times can be trusted. */
export const disturbanceNote = (summaries: readonly Summary<string>[], cores: number): string => {
  const disturbed = summaries.filter((summary) => isDisturbed(summary, cores)).length
  if (disturbed === 0) return 'The machine was otherwise idle.'
  const count = `${disturbed} of ${summaries.length}`
  return `**The machine was busy with other work in ${count} operations, marked (!), where the rest of the machine took more than
${DISTURBED_SHARE * 100} % of it: their times, and ratios of times, are not dependable. Memory and bytes are, CPU seconds roughly so.**`
}
