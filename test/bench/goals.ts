// What is aimed at on the data path, beside what was measured: ratios to the peers and to the floor, and memory.
import type { OperationId, Sample } from './recorder.ts'
import { judge, type Goal } from './scenario.ts'
import type { Summary } from './statistics.ts'

const MB = 1e6
const AGENT_MB_MAX = 200
const GATEWAY_MB_MAX = 300
const TLS_RATIO_MAX = 1.3

/** The most that a process had in any round of an operation, in bytes. */
const mostBytes = (samples: readonly Sample[], operation: OperationId, name: string): number => {
  const own = samples.filter((sample) => sample.operation === operation)
  return Math.max(...own.map(({ processes }) => processes.find((one) => one.name === name)?.peakBytes ?? Number.NaN))
}

/** The goals of the data path; throws when an operation was not measured. */
export const dataPathGoals = (summaries: readonly Summary[], samples: readonly Sample[]): Goal[] => {
  const find = (operation: OperationId): Summary => {
    const found = summaries.find((summary) => summary.operation === operation)
    if (found === undefined) throw new Error(`${operation} was not measured`)
    return found
  }
  const seconds = (operation: OperationId): number => find(operation).seconds.median
  const ratio = (title: string, upper: OperationId, lower: OperationId, goal: Goal['goal']): Goal =>
    judge(title, seconds(upper) / seconds(lower), goal)
  const increment = 'varve-incremental-10000'
  const figure = (key: string): number => find(increment).figures[key] ?? Number.NaN
  const restoreFloor = Math.max(seconds('nbdcopy-raw'), seconds('zstd-decompress'))
  const memory = (name: string, atMost: number): Goal =>
    judge(`memory of the ${name}, first full`, mostBytes(samples, 'varve-full', name) / MB, { atMost }, 'MB')
  const overTls = (title: string, tls: OperationId, plain: OperationId): Goal =>
    ratio(`${title}, TLS / plain`, tls, plain, { atMost: TLS_RATIO_MAX })
  return [
    ratio('first full / zstd -1 -T2', 'varve-full', 'zstd', { atMost: 1.5 }),
    ratio('first full / qemu-img convert', 'varve-full', 'qemu-img', { atMost: 1 }),
    ratio('borg first / first full', 'borg-first', 'varve-full', { atLeast: 2 }),
    ratio('restic first / first full', 'restic-first', 'varve-full', { atLeast: 3 }),
    ratio('re-read / nbdcopy to null', 'varve-reread', 'nbdcopy-null', { atMost: 1.5 }),
    ratio('borg again / re-read', 'borg-again', 'varve-reread', { atLeast: 3 }),
    ratio('restic again / re-read', 'restic-again', 'varve-reread', { atLeast: 3 }),
    ratio('incremental / nbdsh dirty read, 10,000 writes', increment, 'nbdsh-10000', { atMost: 1.5 }),
    ratio('incremental / nbdsh dirty read, 1,000 writes', 'varve-incremental-1000', 'nbdsh-1000', null),
    judge('bytes sent / compressed dirty chunks, 10,000 writes', figure('bytesSent') / figure('compressedChunkBytes'), {
      atMost: 1.1,
    }),
    judge(
      'bytes sent / compressed dirty 4 MiB chunks, 10,000 writes',
      figure('bytesSent') / figure('compressedWideChunkBytes'),
      { atMost: 1 },
    ),
    judge('restore / slower of nbdcopy to raw and zstd -d', seconds('varve-restore') / restoreFloor, { atMost: 1.5 }),
    ratio('borg extract / restore', 'borg-restore', 'varve-restore', { atLeast: 3 }),
    ratio('restic restore / restore', 'restic-restore', 'varve-restore', { atLeast: 3 }),
    overTls('first full', 'tls-full', 'varve-full'),
    overTls('re-read', 'tls-reread', 'varve-reread'),
    overTls('incremental, 10,000 writes', 'tls-incremental-10000', increment),
    overTls('restore', 'tls-restore', 'varve-restore'),
    memory('agent', AGENT_MB_MAX),
    memory('gateway', GATEWAY_MB_MAX),
  ]
}
