// What the commands about machines that run from the gateway tell of one, in words and as JSON.
import { sizeText } from '../../../protocol/host/size.ts'
import { askServer, type InstantState } from '../../instant/control.ts'
import type { InstantRecord, Places } from '../../instant/record.ts'

/** Sums over the disks, in bytes. */
export interface Sums {
  readonly sizeBytes: number
  readonly doneBytes: number
  readonly writtenBytes: number
}

/** The disks as the process that serves them tells, or as they were noted last. */
export const disksOf = (record: InstantRecord, state: InstantState | null): InstantState['disks'] =>
  state?.disks ??
  record.disks.map(({ name, size, alone, writtenBytes }) => ({
    name,
    size,
    alone,
    doneBytes: alone ? size : 0,
    writtenBytes,
    stuck: null,
  }))

export const sumsOf = (disks: InstantState['disks']): Sums => ({
  sizeBytes: disks.reduce((sum, { size }) => sum + size, 0),
  doneBytes: disks.reduce((sum, { doneBytes }) => sum + doneBytes, 0),
  writtenBytes: disks.reduce((sum, { writtenBytes }) => sum + writtenBytes, 0),
})

/** Its state in a few words, with the way out where one is needed. */
export const stateText = (record: InstantRecord, state: InstantState | null): string => {
  const start = record.domain === null ? 'start it' : '"instant resume --start" it'
  if (state === null)
    return `not served${record.problem === null ? '' : `: ${record.problem}`}: "instant resume" serves it`
  if (!state.serving || state.away !== null) return `the gateway is away: ${state.away ?? 'not connected yet'}`
  const stuck = state.disks.find((disk) => disk.stuck !== null)
  if (stuck !== undefined) return `disk ${stuck.name}: ${stuck.stuck}`
  if (state.problem !== null) return state.problem
  if (state.machine === 'off')
    return `served; the machine is off, so nothing is brought in: ${start}, or "instant finish"`
  return state.machine === 'io-error' ? 'the guest waits, as a read or write of its disk failed' : 'being brought in'
}

/** What a person should do about its restore point; null for nothing. */
export const keepText = (record: InstantRecord, state: InstantState | null): string | null => {
  const { machine, point } = record
  if (state?.kept === 'removed')
    return `the restore point of ${machine} was removed: what is not here yet can be read only until the connection to the gateway ends, so "instant finish" at once`
  const keptUntilMs = state?.keptUntilMs ?? record.keptUntilMs
  if ((state === null || state.away !== null) && keptUntilMs !== null)
    return `the gateway keeps the restore point of ${machine} for it until ${new Date(keptUntilMs).toISOString()}, and longer once it is told so again`
  if (state?.kept === 'kept') return null
  return `restore point ${point} of ${machine} may be pruned before all of it is here: varve-gateway hold ${point}`
}

/** One row under --json. */
export const rowOf = (places: Places, record: InstantRecord, state: InstantState | null): object => ({
  folder: places.folder,
  machine: record.machine,
  point: record.point,
  pointTimeMs: record.timeMs,
  begunTimeMs: record.begunMs,
  served: state !== null,
  away: state === null ? null : state.away,
  guest: state?.machine ?? 'off',
  receivedBytes: state?.receivedBytes ?? 0,
  kept: state?.kept ?? 'unknown',
  keptUntilMs: state?.keptUntilMs ?? record.keptUntilMs,
  domain: record.domain === null ? null : record.domain.name,
  problem: state === null ? record.problem : state.problem,
  disks: disksOf(record, state).map(({ name, ...rest }) => ({ disk: name, ...rest })),
})

export const progressText = ({ sizeBytes, doneBytes }: Sums): string =>
  `${sizeText(doneBytes)} of ${sizeText(sizeBytes)} here`

/** Null where no process serves it. */
export const stateOf = (places: Places): Promise<InstantState | null> => askServer(places.control, 'status')
