// The figures of a run: medians over its rounds.
import type { ProcessUse } from './measure.ts'
import type { OperationId, Sample } from './recorder.ts'

export interface Summary<Id extends string = OperationId> {
  readonly operation: Id
  readonly title: string
  readonly rounds: number
  readonly seconds: { readonly median: number; readonly least: number; readonly most: number }
  /** Medians, the command's process first. */
  readonly processes: readonly ProcessUse[]
  readonly otherCpuSeconds: number
  readonly figures: Readonly<Record<string, number>>
}

/** Above this part of the machine's time taken by others, an operation's figures are marked. */
export const DISTURBED_SHARE = 0.15

export const isDisturbed = ({ otherCpuSeconds, seconds }: Summary<string>, cores: number): boolean =>
  otherCpuSeconds > DISTURBED_SHARE * seconds.median * cores

/** The middle value; of an even number the mean of the two in the middle. */
export const median = (values: readonly number[]): number => {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  const upper = sorted[middle] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2
}

const medianOf = <T>(items: readonly T[], value: (item: T) => number | undefined): number =>
  median(items.map(value).filter((one) => one !== undefined))

const summaryOf = <Id extends string>(operation: Id, title: string, samples: readonly Sample<Id>[]): Summary<Id> => {
  const seconds = samples.map((sample) => sample.seconds)
  const names = [...new Set(samples.flatMap(({ processes }) => processes.map(({ name }) => name)))]
  const keys = [...new Set(samples.flatMap(({ figures }) => Object.keys(figures)))]
  const used = (name: string, key: Exclude<keyof ProcessUse, 'name'>): number =>
    medianOf(samples, ({ processes }) => processes.find((one) => one.name === name)?.[key])
  return {
    operation,
    title,
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

/** One summary for each operation that was measured, in the order of the titles. */
export const summarise = <Id extends string>(
  titles: Readonly<Record<Id, string>>,
  samples: readonly Sample<Id>[],
): Summary<Id>[] =>
  (Object.keys(titles) as Id[]).flatMap((operation) => {
    const own = samples.filter((sample) => sample.operation === operation)
    return own.length === 0 ? [] : [summaryOf(operation, titles[operation], own)]
  })
