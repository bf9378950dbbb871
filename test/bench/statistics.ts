// The figures of a run: medians over its rounds, and ratios to the peers beside the goals.
import type { ProcessUse } from './measure.ts'
import { OPERATIONS, type OperationId, type Sample } from './recorder.ts'

export interface Summary {
  readonly operation: OperationId
  readonly title: string
  readonly rounds: number
  readonly seconds: { readonly median: number; readonly least: number; readonly most: number }
  /** Medians, the command's process first. */
  readonly processes: readonly ProcessUse[]
  readonly otherCpuSeconds: number
  readonly figures: Readonly<Record<string, number>>
}

export interface Ratio {
  readonly title: string
  readonly value: number
  readonly goal: { readonly atMost: number } | { readonly atLeast: number }
  readonly met: boolean
}

/** The middle value; of an even number the mean of the two in the middle. */
export const median = (values: readonly number[]): number => {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  const upper = sorted[middle] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2
}

const medianOf = <T>(items: readonly T[], value: (item: T) => number | undefined): number =>
  median(items.map(value).filter((one) => one !== undefined))

const summaryOf = (operation: OperationId, samples: readonly Sample[]): Summary => {
  const seconds = samples.map((sample) => sample.seconds)
  const names = [...new Set(samples.flatMap(({ processes }) => processes.map(({ name }) => name)))]
  const keys = [...new Set(samples.flatMap(({ figures }) => Object.keys(figures)))]
  const used = (name: string, key: Exclude<keyof ProcessUse, 'name'>): number =>
    medianOf(samples, ({ processes }) => processes.find((one) => one.name === name)?.[key])
  return {
    operation,
    title: OPERATIONS[operation],
    rounds: samples.length,
    seconds: { median: median(seconds), least: Math.min(...seconds), most: Math.max(...seconds) },
    processes: names.map((name) => ({
      name,
      cpuSeconds: used(name, 'cpuSeconds'),
      systemCpuSeconds: used(name, 'systemCpuSeconds'),
      peakBytes: used(name, 'peakBytes'),
    })),
    otherCpuSeconds: medianOf(samples, (sample) => sample.otherCpuSeconds),
    figures: Object.fromEntries(keys.map((key) => [key, medianOf(samples, ({ figures }) => figures[key])])),
  }
}

/** One summary for each operation that was measured, in the order of the table. */
export const summarise = (samples: readonly Sample[]): Summary[] =>
  (Object.keys(OPERATIONS) as OperationId[]).flatMap((operation) => {
    const own = samples.filter((sample) => sample.operation === operation)
    return own.length === 0 ? [] : [summaryOf(operation, own)]
  })

/** How we stand to the peers and to the floor, beside what is aimed at. */
export const ratiosOf = (summaries: readonly Summary[]): Ratio[] => {
  const find = (operation: OperationId): Summary => {
    const found = summaries.find((summary) => summary.operation === operation)
    if (found === undefined) throw new Error(`${operation} was not measured`)
    return found
  }
  const seconds = (operation: OperationId): number => find(operation).seconds.median
  const figure = (operation: OperationId, key: string): number => find(operation).figures[key] ?? Number.NaN
  const ratio = (title: string, value: number, goal: Ratio['goal']): Ratio => ({
    title,
    value: Number(value.toFixed(3)),
    goal,
    met: 'atMost' in goal ? value <= goal.atMost : value >= goal.atLeast,
  })
  const restoreFloor = Math.max(seconds('nbdcopy-raw'), seconds('zstd-decompress'))
  const increment = 'varve-incremental-10000'
  const sent = figure(increment, 'bytesSent')
  return [
    ratio('first full / zstd -1 -T2', seconds('varve-full') / seconds('zstd'), { atMost: 1.5 }),
    ratio('first full / qemu-img convert', seconds('varve-full') / seconds('qemu-img'), { atMost: 1 }),
    ratio('borg first / first full', seconds('borg-first') / seconds('varve-full'), { atLeast: 2 }),
    ratio('restic first / first full', seconds('restic-first') / seconds('varve-full'), { atLeast: 3 }),
    ratio('re-read / nbdcopy to null', seconds('varve-reread') / seconds('nbdcopy-null'), { atMost: 1.5 }),
    ratio('borg again / re-read', seconds('borg-again') / seconds('varve-reread'), { atLeast: 3 }),
    ratio('restic again / re-read', seconds('restic-again') / seconds('varve-reread'), { atLeast: 3 }),
    ratio('bytes sent / compressed dirty chunks, 10,000 writes', sent / figure(increment, 'compressedChunkBytes'), {
      atMost: 1.1,
    }),
    ratio(
      'bytes sent / compressed dirty 4 MiB chunks, 10,000 writes',
      sent / figure(increment, 'compressedWideChunkBytes'),
      {
        atMost: 1,
      },
    ),
    ratio('restore / slower of nbdcopy to raw and zstd -d', seconds('varve-restore') / restoreFloor, { atMost: 1.5 }),
    ratio('borg extract / restore', seconds('borg-restore') / seconds('varve-restore'), { atLeast: 3 }),
    ratio('restic restore / restore', seconds('restic-restore') / seconds('varve-restore'), { atLeast: 3 }),
  ]
}
