// How machines, jobs and relayed QMP commands look to who asks for them.
import * as v from 'valibot'
import { QMP_CHARS_MAX } from './limits.ts'
import * as s from './schemas.ts'

/** Most bitmaps that one answer names. */
const BITMAPS_MAX = 4096

const jobDisk = v.object({ ...s.readDisk.entries, doneBytes: s.count })
/** A backup that runs or has ended. */
export const job = v.object({
  id: s.uuid,
  machine: s.name,
  state: s.jobState,
  subject: v.string(),
  startedMs: s.timeMs,
  endedMs: v.nullable(s.timeMs),
  /** The machine is as it was before: its lease is given back. */
  released: v.boolean(),
  bytesSent: s.count,
  /** Bytes said to be unchanged that were compared with the base so far. */
  comparedBytes: s.count,
  disks: s.disks(jobDisk),
  error: v.nullable(s.failure),
})
export type Job = v.InferOutput<typeof job>

/** What tells a machine from others of its name, and which agents may take it over. */
export const whereabouts = {
  /** The hypervisor's, as its agent announced it last; null where none is known. */
  uuid: v.nullable(s.uuid),
  /** Agents of one site hand machines over to one another; null where the machine's agent has none. */
  site: v.nullable(s.name),
} as const

export const machine = v.object({
  name: s.name,
  ...whereabouts,
  agent: s.uuid,
  host: v.string(),
  online: v.boolean(),
  policy: s.policy,
  /** Machines of a group share its rules of retention. */
  group: v.nullable(s.name),
  job: v.nullable(s.uuid),
  lastPoint: v.nullable(v.object({ id: s.uuid, timeMs: s.timeMs })),
})

export const machineStatus = v.object({
  name: s.name,
  /** The agent has a connection to the machine. */
  reachable: v.boolean(),
  /** What the hypervisor calls its state, such as `running` or `paused`. */
  runState: v.nullable(v.string()),
  /** Name and version, such as `QEMU 7.2.0`. */
  hypervisor: v.nullable(v.string()),
  /** The job that has the machine. */
  lease: v.nullable(s.uuid),
  /** What is wrong, in words. */
  problem: v.nullable(v.string()),
  disks: s.disks(v.object({ name: s.diskName, size: s.diskBytes, format: v.string() })),
  /** Disks that a backup would leave out. */
  leftOut: s.leftOut,
})
export type MachineStatus = v.InferOutput<typeof machineStatus>

const json = v.pipe(v.string(), v.maxLength(QMP_CHARS_MAX))
const command = v.pipe(v.string(), v.regex(/^[a-zA-Z0-9_.-]{1,128}$/u, 'not a QMP command'))
export const qmp = {
  params: v.object({ machine: s.name, command, arguments: json }),
  result: v.object({ value: json }),
}
/** An event of QEMU's, its data as JSON text. */
export const qmpEvent = v.object({ event: v.string(), timeMs: s.timeMs, data: json })

const text = v.pipe(v.string(), v.maxLength(4096))
const nodeBitmap = { node: text, bitmap: text }

/**
 * Bitmaps of Varve's that were removed from a machine, and those that QEMU refused to remove, with their image and its
 * reason.
 */
export const forgotten = v.object({
  removed: v.pipe(v.array(v.object(nodeBitmap)), v.maxLength(BITMAPS_MAX)),
  left: v.pipe(v.array(v.object({ ...nodeBitmap, file: text, reason: text })), v.maxLength(BITMAPS_MAX)),
})
export type Forgotten = v.InferOutput<typeof forgotten>

export const forget = {
  params: v.object({ machine: s.name, disk: v.nullable(s.diskName) }),
  result: forgotten,
} as const
