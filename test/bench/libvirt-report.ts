// What the scenario of libvirt reports: operations and their titles, ratios of the two products, and goals.
import { judge, type Goal, type Table } from './scenario.ts'
import type { Summary } from './statistics.ts'
import type { Turn } from './libvirt-together.ts'

const MIB = 2 ** 20

export const PRODUCTS = {
  varve: 'Varve',
  plain: 'virtnbdbackup',
  lz4: 'virtnbdbackup --compress',
} as const
export type ProductId = keyof typeof PRODUCTS

/** What is timed, with how many random writes of 4 KiB before it. */
const WORK = {
  full: { name: 'full backup', writes: 0 },
  small: { name: 'incremental', writes: 1000 },
  large: { name: 'incremental', writes: 5000 },
  restore: { name: 'restore of the last point to qcow2', writes: 0 },
} as const
export type WorkId = keyof typeof WORK

/** A quick run writes less. */
const QUICK_SHARE = 0.1

export const writesBefore = (work: WorkId, quick: boolean): number => WORK[work].writes * (quick ? QUICK_SHARE : 1)

export type OperationId = `${ProductId}-${WorkId}`

export const operationId = (product: ProductId, work: WorkId): OperationId => `${product}-${work}`

const workIds = Object.keys(WORK) as WorkId[]
const productIds = Object.keys(PRODUCTS) as ProductId[]

const workTitle = (work: WorkId, quick: boolean): string => {
  const writes = writesBefore(work, quick)
  return WORK[work].name + (writes === 0 ? '' : ` after ${writes.toLocaleString('en')} random 4 KiB writes`)
}

/** Of every operation: one kind of work by all products, then the next. */
export const titlesOf = (quick: boolean): Record<OperationId, string> =>
  Object.fromEntries(
    workIds.flatMap((work) =>
      productIds.map((product) => [operationId(product, work), `${PRODUCTS[product]}: ${workTitle(work, quick)}`]),
    ),
  ) as Record<OperationId, string>

type LibvirtSummary = Summary<OperationId>

const find = (summaries: readonly LibvirtSummary[], product: ProductId, work: WorkId): LibvirtSummary => {
  const found = summaries.find(({ operation }) => operation === operationId(product, work))
  if (found === undefined) throw new Error(`${operationId(product, work)} was not measured`)
  return found
}

const seconds = (summary: LibvirtSummary): number => summary.seconds.median

/** Seconds of all processes with a part in it. */
const cpu = (summary: LibvirtSummary): number => summary.processes.reduce((sum, { cpuSeconds }) => sum + cpuSeconds, 0)

/** Of the product's own processes, in bytes. */
const memory = ({ processes }: LibvirtSummary): number =>
  processes
    .filter(({ name }) => name !== 'QEMU' && name !== 'libvirtd')
    .reduce((sum, { peakBytes }) => sum + peakBytes, 0)

const stored = ({ figures }: LibvirtSummary): number => figures['bytesStored'] ?? Number.NaN

/** What Varve takes as a multiple of what the other takes: below 1 Varve takes less. */
const ratio = (
  summaries: readonly LibvirtSummary[],
  work: WorkId,
  other: ProductId,
  value: (summary: LibvirtSummary) => number,
): number => value(find(summaries, 'varve', work)) / value(find(summaries, other, work))

export const ratioTable = (summaries: readonly LibvirtSummary[], quick: boolean): Table => {
  const row = (work: WorkId, other: ProductId): string[] => {
    const of = (value: (summary: LibvirtSummary) => number): string => ratio(summaries, work, other, value).toFixed(2)
    const bytes = work === 'restore' ? '' : of(stored)
    return [`${workTitle(work, quick)}, beside ${PRODUCTS[other]}`, of(seconds), of(cpu), bytes, of(memory)]
  }
  return {
    title: 'Varve as a multiple of virtnbdbackup',
    heading: ['what', 'time', 'CPU', 'stored', 'memory'],
    rows: workIds.flatMap((work) => (['plain', 'lz4'] as const).map((other) => row(work, other))),
  }
}

export const storeTable = (summaries: readonly LibvirtSummary[]): Table => ({
  title: 'Bytes stored, CPU and memory in all',
  heading: ['operation', 'stored, MiB', 'CPU seconds', 'peak memory, MiB'],
  rows: summaries.map((summary) => {
    const bytes = stored(summary)
    const cell = Number.isNaN(bytes) ? '' : (bytes / MIB).toFixed(1)
    return [summary.title, cell, cpu(summary).toFixed(2), (memory(summary) / MIB).toFixed(0)]
  }),
})

export const togetherTable = (turns: readonly Turn[]): Table => ({
  title: 'Both on one domain in turn, every point restored and compared',
  heading: ['backup', 'kind', "checkpoints in libvirt's list after it"],
  rows: turns.map(({ product, level, checkpoints }) => [
    product === 'varve' ? PRODUCTS.varve : PRODUCTS.lz4,
    level,
    checkpoints.join(', ') || 'none',
  ]),
})

export const libvirtGoals = (summaries: readonly LibvirtSummary[]): Goal[] => {
  const against = (
    title: string,
    work: WorkId,
    value: (summary: LibvirtSummary) => number,
    goal: Goal['goal'] = null,
  ): Goal => judge(`${title}, Varve / ${PRODUCTS.lz4}`, ratio(summaries, work, 'lz4', value), goal)
  return [
    against('full, bytes stored', 'full', stored, { atMost: 1 }),
    against('smaller incremental, bytes stored', 'small', stored, { atMost: 1 }),
    against('larger incremental, bytes stored', 'large', stored, { atMost: 1 }),
    against('full, time', 'full', seconds),
    against('smaller incremental, time', 'small', seconds, { atMost: 1 }),
    against('larger incremental, time', 'large', seconds, { atMost: 1 }),
    against('restore, time', 'restore', seconds, { atMost: 1 }),
    against('full, CPU', 'full', cpu),
    against('smaller incremental, CPU', 'small', cpu),
    against('larger incremental, CPU', 'large', cpu),
  ]
}
