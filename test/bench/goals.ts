// What is aimed at on the data path, beside what was measured: ratios to the peers and to the floor, and memory.
import type { OperationId, Sample } from './recorder.ts'
import { judge, type Goal } from './scenario.ts'
import type { Summary } from './statistics.ts'

const MB = 1e6
const MIB = 2 ** 20
const GIB = 2 ** 30
const AGENT_MB_MAX = 200
const GATEWAY_MB_MAX = 200
const STORED_MIB_MAX = 820
const TLS_RATIO_MAX = 1.3

/** CPU seconds for each GiB of new data, on the slower of the two machines that goals were set on. */
const CPU_SECONDS_MAX = { gateway: 2.6, agent: 3.3 } as const

/** Said in every result, as these goals differ between two machines of the same kind. */
export const GOALS_NOTE = `Goals that are absolute times were set on two machines of the same kind; here they are those of the slower one
(the faster one's in parentheses): CPU seconds for each GiB of the gateway 2.6 (1.6) and of the agent 3.3 (2.0), another tenant's
calls 60 ms (20), the guest's writes half of 6.4 and 116 ms (of 1.5 and 31).`

class Measured {
  readonly #summaries: readonly Summary[]
  readonly #samples: readonly Sample[]

  constructor(summaries: readonly Summary[], samples: readonly Sample[]) {
    this.#summaries = summaries
    this.#samples = samples
  }

  /** The operations' seconds, one by the other. */
  ratio(title: string, upper: OperationId, lower: OperationId, goal: Goal['goal']): Goal {
    return judge(title, this.seconds(upper) / this.seconds(lower), goal)
  }

  has(operation: OperationId): boolean {
    return this.#summaries.some((summary) => summary.operation === operation)
  }

  seconds(operation: OperationId): number {
    return this.#find(operation).seconds.median
  }

  figure(operation: OperationId, key: string): number {
    return this.#find(operation).figures[key] ?? Number.NaN
  }

  cpuSeconds(operation: OperationId, process: string): number {
    return this.#find(operation).processes.find(({ name }) => name === process)?.cpuSeconds ?? Number.NaN
  }

  /** The most that a process and its helpers had in any round of an operation, in bytes. */
  mostBytes(operation: OperationId, process: string): number {
    const own = this.#samples.filter((sample) => sample.operation === operation)
    const peaks = own.map(({ processes }) => processes.find(({ name }) => name === process)?.peakBytes)
    return Math.max(...peaks.map((bytes) => bytes ?? Number.NaN))
  }

  #find(operation: OperationId): Summary {
    const found = this.#summaries.find((summary) => summary.operation === operation)
    if (found === undefined) throw new Error(`${operation} was not measured`)
    return found
  }
}

const fullGoals = (measured: Measured): Goal[] => {
  const peer = (title: string, operation: OperationId, goal: Goal['goal']): Goal =>
    measured.ratio(`${title} / first full`, operation, 'varve-full', goal)
  return [
    measured.ratio('first full / zstd -1 -T2', 'varve-full', 'zstd', { atMost: 1.5 }),
    measured.ratio('first full / qemu-img convert', 'varve-full', 'qemu-img', { atMost: 1 }),
    peer('borg first', 'borg-first', { atLeast: 1 }),
    peer('restic first', 'restic-first', { atLeast: 2 }),
    ...(measured.has('sid-restic-first')
      ? [peer('restic of Debian sid first', 'sid-restic-first', { atLeast: 2 })]
      : []),
    peer('borg first behind nbdcopy', 'piped-borg-first', null),
    peer('newest restic first behind nbdcopy', 'piped-restic-first', null),
    judge(
      'stored bytes of the first full',
      measured.figure('varve-full', 'bytesStored') / MIB,
      { atMost: STORED_MIB_MAX },
      'MiB',
    ),
    ...(['gateway', 'agent'] as const).map((process) =>
      judge(
        `CPU of the ${process} for each GiB of new data, first full`,
        measured.cpuSeconds('varve-full', process) / (measured.figure('varve-full', 'bytesRead') / GIB),
        { atMost: CPU_SECONDS_MAX[process] },
        's',
      ),
    ),
  ]
}

const rereadGoals = (measured: Measured): Goal[] => {
  const peer = (title: string, operation: OperationId, goal: Goal['goal']): Goal =>
    measured.ratio(`${title} / re-read`, operation, 'varve-reread', goal)
  return [
    measured.ratio('re-read / nbdcopy to null', 'varve-reread', 'nbdcopy-null', { atMost: 1.8 }),
    peer('borg again', 'borg-again', { atLeast: 1.5 }),
    peer('restic again', 'restic-again', { atLeast: 1.5 }),
    ...(measured.has('sid-restic-again')
      ? [peer('restic of Debian sid again', 'sid-restic-again', { atLeast: 1.5 })]
      : []),
    peer('borg again behind nbdcopy', 'piped-borg-again', null),
    peer('newest restic again behind nbdcopy', 'piped-restic-again', null),
  ]
}

const incrementGoals = (measured: Measured): Goal[] => {
  const increment = 'varve-incremental-10000'
  const sent = (key: string): number => measured.figure(increment, 'bytesSent') / measured.figure(increment, key)
  return [
    measured.ratio('incremental / nbdsh dirty read, 10,000 writes', increment, 'nbdsh-10000', { atMost: 1.8 }),
    measured.ratio('incremental / nbdsh dirty read, 1,000 writes', 'varve-incremental-1000', 'nbdsh-1000', null),
    judge('bytes sent / compressed dirty chunks, 10,000 writes', sent('compressedChunkBytes'), { atMost: 1.1 }),
    judge('bytes sent / compressed dirty 4 MiB chunks, 10,000 writes', sent('compressedWideChunkBytes'), { atMost: 1 }),
  ]
}

const restoreGoals = (measured: Measured): Goal[] => {
  const floor = Math.max(measured.seconds('nbdcopy-raw'), measured.seconds('zstd-decompress'))
  const beside = (title: string, operation: OperationId, atMost: number): Goal =>
    judge(`${title} / slower of nbdcopy to raw and zstd -d`, measured.seconds(operation) / floor, { atMost })
  return [
    beside('restore', 'varve-restore', 1.1),
    beside('restore over TLS', 'tls-restore', 1.2),
    measured.ratio('borg extract / restore', 'borg-restore', 'varve-restore', { atLeast: 3 }),
    measured.ratio('restic restore / restore', 'restic-restore', 'varve-restore', { atLeast: 3 }),
  ]
}

/** The goals of the data path; throws when an operation was not measured. */
export const dataPathGoals = (summaries: readonly Summary[], samples: readonly Sample[]): Goal[] => {
  const measured = new Measured(summaries, samples)
  const memory = (name: string, title: string, atMost: number): Goal =>
    judge(`memory of the ${title}, first full`, measured.mostBytes('varve-full', name) / MB, { atMost }, 'MB')
  const overTls = (title: string, tls: OperationId, plain: OperationId): Goal =>
    measured.ratio(`${title}, TLS / plain`, tls, plain, { atMost: TLS_RATIO_MAX })
  return [
    ...fullGoals(measured),
    ...rereadGoals(measured),
    ...incrementGoals(measured),
    ...restoreGoals(measured),
    overTls('first full', 'tls-full', 'varve-full'),
    overTls('re-read', 'tls-reread', 'varve-reread'),
    overTls('incremental, 10,000 writes', 'tls-incremental-10000', 'varve-incremental-10000'),
    overTls('restore', 'tls-restore', 'varve-restore'),
    memory('agent', 'agent with its guards', AGENT_MB_MAX),
    memory('gateway', 'gateway', GATEWAY_MB_MAX),
  ]
}
