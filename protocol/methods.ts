// The one table of methods: who serves each, who may call it, what goes in and out. Validator, client and documents follow it.
import * as v from 'valibot'
import { AGENT_METHODS } from './agent-methods.ts'
import type { Role } from './claims.ts'
import { CHUNK_WINDOW_BYTES, MACHINES_MAX, PAGE_ROWS_MAX, STREAM_WINDOW_BYTES, TOKEN_CHARS_MAX } from './limits.ts'
import { MAINTENANCE_METHODS } from './maintenance.ts'
import * as s from './schemas.ts'
import { announcedDisk, chunking, comparison, downloadDown, position, uploadDown, uploadUp } from './transfer.ts'
import { forget, job, machine, machineStatus, qmp, qmpEvent } from './views.ts'

export { ANSWER, DOWN, LOAD, RUN, UP, type Chunking, type Reread } from './transfer.ts'
export type { Forgotten, Job, MachineStatus } from './views.ts'

/** One direction of a stream: what its messages are and how many bytes of them may be in flight. */
export interface Stream<M extends v.GenericSchema = v.GenericSchema> {
  readonly message: M
  readonly windowBytes: number
}

interface Method {
  readonly servedBy: 'gateway' | 'agent'
  /** Roles that may call a method of the gateway; methods of the agent are called by the gateway only. */
  readonly roles: readonly Role[]
  /** An agent calls it only on the connection on which it serves its machines; NOT_SERVING on another one. */
  readonly serving?: boolean
  /** Changes state, so every call is in the audit log. */
  readonly audited: boolean
  readonly params: v.GenericSchema
  readonly result: v.GenericSchema
  /** Messages from the caller. */
  readonly up: Stream | null
  /** Messages to the caller. */
  readonly down: Stream | null
}

const stream = <M extends v.GenericSchema>(message: M, windowBytes: number): Stream<M> => ({ message, windowBytes })
const none = v.object({})
const plain = { up: null, down: null, audited: false } as const

const READERS = ['owner', 'operator', 'viewer', 'auditor', 'agent'] as const
const OPERATORS = ['owner', 'operator'] as const
const BACKUP_STARTERS = ['owner', 'operator', 'agent'] as const
const AGENT = ['agent'] as const
const served = { ...plain, servedBy: 'gateway', roles: AGENT, serving: true } as const

const machineParams = v.object({ machine: s.name })
const jobParams = v.object({ job: s.uuid })

export const METHODS = {
  // sessions and identities
  'session.renew': {
    ...plain,
    servedBy: 'gateway',
    roles: AGENT,
    params: v.object({ token: v.pipe(v.string(), v.maxLength(TOKEN_CHARS_MAX)) }),
    result: v.object({ expiresMs: s.timeMs }),
  },
  'tenants.list': {
    ...plain,
    servedBy: 'gateway',
    roles: ['platform'],
    params: none,
    result: v.object({ tenants: v.array(v.object({ name: s.name, createdMs: s.timeMs })) }),
  },
  'agents.list': {
    ...plain,
    servedBy: 'gateway',
    roles: ['owner', 'operator', 'auditor'],
    params: none,
    result: v.object({
      agents: v.array(
        v.object({
          id: s.uuid,
          host: v.string(),
          enrolledMs: s.timeMs,
          /** When it was last connected, or seen to be so; null for never. */
          seenMs: v.nullable(s.timeMs),
          revokedMs: v.nullable(s.timeMs),
          online: v.boolean(),
        }),
      ),
    }),
  },
  'agents.revoke': {
    ...plain,
    servedBy: 'gateway',
    // audited by the operation itself, in its transaction
    roles: ['owner'],
    params: v.object({ agent: s.uuid }),
    result: none,
  },
  'audit.list': {
    ...plain,
    servedBy: 'gateway',
    roles: ['owner', 'auditor'],
    params: v.object({
      /** The number of the last entry that is known already; 0 for the first page. */
      afterSeq: s.count,
      limit: s.pageLimit,
    }),
    result: v.object({
      entries: v.pipe(
        v.array(
          v.object({
            seq: s.count,
            timeMs: s.timeMs,
            subject: v.string(),
            role: v.string(),
            /** Such as a method's name. */
            action: v.string(),
            /** What it was about, such as `machine=db1`. */
            resource: v.string(),
            /** `ok`, `begun` or an error's code. */
            outcome: v.string(),
            /** JSON text. */
            details: v.string(),
          }),
        ),
        v.maxLength(PAGE_ROWS_MAX),
      ),
    }),
  },

  // machines
  'machines.list': {
    ...plain,
    servedBy: 'gateway',
    roles: READERS,
    params: none,
    result: v.object({ machines: v.array(machine) }),
  },
  'machines.status': {
    ...plain,
    servedBy: 'gateway',
    roles: READERS,
    params: machineParams,
    result: machineStatus,
  },
  'machines.setPolicy': {
    ...plain,
    servedBy: 'gateway',
    roles: OPERATORS,
    audited: true,
    params: v.object({ machine: s.name, policy: s.policy }),
    result: none,
  },
  'machines.assign': {
    ...plain,
    servedBy: 'gateway',
    // audited by the operation itself, in its transaction
    roles: ['owner'],
    params: v.object({ machine: s.name, agent: s.uuid }),
    result: none,
  },
  'machines.forget': { ...plain, servedBy: 'gateway', roles: BACKUP_STARTERS, audited: true, ...forget },
  'machines.qmp': { ...plain, servedBy: 'gateway', roles: OPERATORS, audited: true, ...qmp },
  'machines.events': {
    ...plain,
    servedBy: 'gateway',
    roles: OPERATORS,
    params: machineParams,
    result: none,
    down: stream(qmpEvent, STREAM_WINDOW_BYTES),
  },

  // backups and restore points
  'backup.start': {
    ...plain,
    servedBy: 'gateway',
    roles: BACKUP_STARTERS,
    audited: true,
    params: v.object({
      machine: s.name,
      /** Reads every disk whole, whatever its bitmap says. */
      full: v.boolean(),
      /** Compares all that is said to be unchanged with the restore point before, as the policy's `compareDays` does. */
      compare: v.optional(v.boolean(), false),
    }),
    result: jobParams,
  },
  'jobs.list': {
    ...plain,
    servedBy: 'gateway',
    roles: READERS,
    params: v.object({
      /** Nil for all. */
      machine: v.nullable(s.name),
      limit: s.pageLimit,
    }),
    result: v.object({ jobs: v.pipe(v.array(job), v.maxLength(PAGE_ROWS_MAX)) }),
  },
  'jobs.watch': {
    ...plain,
    servedBy: 'gateway',
    roles: READERS,
    params: jobParams,
    result: job,
    down: stream(job, STREAM_WINDOW_BYTES),
  },
  'jobs.cancel': {
    ...plain,
    servedBy: 'gateway',
    roles: BACKUP_STARTERS,
    audited: true,
    params: jobParams,
    result: none,
  },
  'points.list': {
    ...plain,
    servedBy: 'gateway',
    roles: READERS,
    params: v.object({
      /** Nil for all. */
      machine: v.nullable(s.name),
      /** Nil for the newest; the last point of the page before for the next one. */
      before: v.nullable(s.pointCursor),
      limit: s.pageLimit,
    }),
    /** `more`: others follow; a page ends early where its points have many disks. */
    result: v.object({ points: v.pipe(v.array(s.point), v.maxLength(PAGE_ROWS_MAX)), more: v.boolean() }),
  },
  'points.get': {
    ...plain,
    servedBy: 'gateway',
    roles: READERS,
    params: v.object({ point: s.idPrefix }),
    result: v.object({ point: s.point, configuration: s.configuration }),
  },
  'image.download': {
    ...plain,
    servedBy: 'gateway',
    roles: BACKUP_STARTERS,
    audited: true,
    /** With `skipDamaged`, what cannot be read is said to be lost and does not end the download. */
    params: v.object({ point: s.uuid, disk: s.diskName, position, skipDamaged: v.boolean() }),
    result: none,
    down: stream(downloadDown, CHUNK_WINDOW_BYTES),
  },

  ...MAINTENANCE_METHODS,

  // what an agent calls while it makes a backup
  'agent.inventory': {
    ...served,
    params: v.object({
      host: v.pipe(v.string(), v.maxLength(255)),
      machines: v.pipe(v.array(s.name), v.maxLength(MACHINES_MAX)),
      /** Jobs whose lease the agent's journal holds. */
      jobs: v.pipe(v.array(s.uuid), v.maxLength(MACHINES_MAX)),
    }),
    result: v.object({
      /** Machines that the agent may not serve, and why. */
      refused: v.array(v.object({ machine: s.name, ...s.failure.entries })),
      /** What became of each job named; `keys` is what a running one needs to go on. */
      jobs: v.array(v.object({ job: s.uuid, state: v.nullable(s.jobState), keys: v.nullable(chunking) })),
    }),
  },
  'backup.begin': {
    ...served,
    audited: true,
    params: v.object({
      job: s.uuid,
      /** The instant. */
      timeMs: s.timeMs,
      consistency: s.consistency,
      /** What a person should know of the point, such as why the guest was not frozen. */
      note: s.note,
      configuration: s.configuration,
      leftOut: s.leftOut,
      disks: s.disks(announcedDisk),
    }),
    result: none,
  },
  'image.compare': { ...served, ...comparison },
  'image.upload': {
    ...served,
    params: v.object({ job: s.uuid, disk: s.diskName }),
    result: v.object({ root: s.root }),
    up: stream(uploadUp, CHUNK_WINDOW_BYTES),
    down: stream(uploadDown, STREAM_WINDOW_BYTES),
  },
  'backup.commit': {
    ...served,
    audited: true,
    params: v.object({
      job: s.uuid,
      /** Of all disks. */
      bytesRead: s.count,
    }),
    /** The restore point's id, which is the job's. */
    result: v.object({ point: s.uuid }),
  },
  'backup.fail': {
    ...served,
    audited: true,
    params: v.object({ job: s.uuid, ...s.failure.entries }),
    result: none,
  },
  'backup.released': {
    ...served,
    params: jobParams,
    result: none,
  },

  ...AGENT_METHODS,
} as const satisfies Record<string, Method>

type Methods = typeof METHODS
export type MethodName = keyof Methods
export type MethodsServedBy<W extends Method['servedBy']> = {
  [N in MethodName]: Methods[N]['servedBy'] extends W ? N : never
}[MethodName]
export type Params<N extends MethodName> = v.InferOutput<Methods[N]['params']>
/** The same as a caller gives them: what has a default may be absent. */
export type Asked<N extends MethodName> = v.InferInput<Methods[N]['params']>
export type Result<N extends MethodName> = v.InferOutput<Methods[N]['result']>
type MessageOf<S> = S extends Stream<infer M> ? v.InferOutput<M> : never
export type Up<N extends MethodName> = MessageOf<Methods[N]['up']>
export type Down<N extends MethodName> = MessageOf<Methods[N]['down']>

export const isMethod = (name: string): name is MethodName => Object.hasOwn(METHODS, name)
export const methodOf = (name: MethodName): Method => METHODS[name]
