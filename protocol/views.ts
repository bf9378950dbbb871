// How machines, jobs and relayed QMP commands look to who asks for them.
import * as v from 'valibot'
import { JOB_LIMITS, JOB_PHASES } from './backup.ts'
import { CHECKPOINT_NAME_CHARS_MAX, CHECKPOINTS_MAX, QMP_CHARS_MAX, RELAY_TOLD_MAX } from './limits.ts'
import { exclusion, planName } from './plans.ts'
import * as s from './schemas.ts'

/** Most bitmaps that one answer names. */
const BITMAPS_MAX = 4096

const jobDisk = v.object({ ...s.readDisk.entries, doneBytes: s.count })
/** A backup that runs or has ended. */
export const job = v.object({
  id: s.uuid,
  machine: s.name,
  /** The agent that carries it out, and whether it is connected now: a job of one that is away waits for it. */
  agent: s.uuid,
  online: v.boolean(),
  state: s.jobState,
  /** Where it is; nil once it has ended. */
  phase: v.nullable(v.picklist(JOB_PHASES)),
  /** What its upload waits for; nil where nothing is uploaded, or nobody can tell. */
  limit: v.nullable(v.picklist(JOB_LIMITS)),
  /** How often its uploads went on after a break since this gateway started, and when the last one did. */
  resumes: s.count,
  resumedMs: v.nullable(s.timeMs),
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
  /** What its plan asks of its backups. */
  policy: s.policy,
  /** Plans can cover all machines of a group. */
  group: v.nullable(s.name),
  /** Name of the plan that covers it; nil where none does. */
  plan: v.nullable(planName),
  /** Why it is left out of plans; nil where it is not. */
  exclusion: v.nullable(exclusion),
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
  /** The job that has the machine, or the lease that a target holds. */
  lease: v.nullable(s.uuid),
  /** That target; nil for a job or nobody, and of older agents. */
  target: v.optional(v.nullable(s.name), null),
  /** What is wrong, in words. */
  problem: v.nullable(v.string()),
  disks: s.disks(v.object({ name: s.diskName, size: s.diskBytes, format: v.string() })),
  /** Disks that a backup would leave out. */
  leftOut: s.leftOut,
})
export type MachineStatus = v.InferOutput<typeof machineStatus>

/** What a bitmap is worth to the next increment. */
export const CHECKPOINT_HEALTHS = ['whole', 'inconsistent', 'disabled', 'missing', 'unknown'] as const

const checkpointName = v.pipe(v.string(), v.minLength(1), v.maxLength(CHECKPOINT_NAME_CHARS_MAX))

/** The checkpoints that a machine has, of Varve's and of other programs'. */
export const checkpointList = v.object({
  checkpoints: v.pipe(
    v.array(
      v.object({
        /** As the hypervisor has it; without the number of the disk in the names of Varve's bitmaps. */
        name: checkpointName,
        /** The checkpoint before it, as libvirt keeps it; null for none, and where nothing says so. */
        parent: v.nullable(checkpointName),
        /** The restore point that it belongs to; null for another program's. */
        point: v.nullable(s.uuid),
        /** Made by the agent that answers, or by one that its host was before. */
        own: v.boolean(),
        /** When it was made, as libvirt keeps it; null where nothing says so. */
        timeMs: v.nullable(s.timeMs),
        disks: s.disks(
          v.object({
            name: s.diskName,
            /** What changed since, which an increment reads at least; null unless it is whole and its machine runs. */
            bytes: v.nullable(s.count),
            /**
             * `whole`: it records. `inconsistent`: an unclean end broke it. `disabled`: it records nothing. `missing`: the disk
             * has none. `unknown`: it cannot be looked at just now.
             */
            health: v.picklist(CHECKPOINT_HEALTHS),
          }),
        ),
      }),
    ),
    v.maxLength(CHECKPOINTS_MAX),
  ),
  /** Further ones that the limits leave no room for. */
  omitted: s.count,
})
export type CheckpointList = Readonly<v.InferOutput<typeof checkpointList>>
export type Checkpoint = CheckpointList['checkpoints'][number]

const json = v.pipe(v.string(), v.maxLength(QMP_CHARS_MAX))
const command = v.pipe(v.string(), v.regex(/^[a-zA-Z0-9_.-]{1,128}$/u, 'not a QMP command'))
export const qmp = {
  params: v.object({ machine: s.name, command, arguments: json }),
  result: v.object({ value: json }),
}
/** QMP commands that an agent relays; one that ends in `*` stands for all that begin so. `more`: further ones it allows. */
export const relayed = v.object({
  commands: v.pipe(v.array(v.pipe(v.string(), v.maxLength(128))), v.maxLength(RELAY_TOLD_MAX)),
  more: s.count,
})
export type Relayed = Readonly<v.InferOutput<typeof relayed>>

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
