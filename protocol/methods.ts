// The one table of methods: who serves each, who may call it, what goes in and out. Validator, client and documents follow it.
import * as v from 'valibot'
import type { Role } from './claims.ts'
import { CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, DISK_BYTES_MAX } from './chunk.ts'
import {
  CHUNK_WINDOW_BYTES,
  FRAME_CHUNKS_MAX,
  MACHINES_MAX,
  PAGE_ROWS_MAX,
  PROOF_BYTES,
  QMP_CHARS_MAX,
  STREAM_WINDOW_BYTES,
  TOKEN_CHARS_MAX,
  UPLOAD_IDS_MAX,
  UPLOAD_RUNS_MAX,
} from './limits.ts'
import * as s from './schemas.ts'

/** One direction of a stream: what its messages are and how many bytes of them may be in flight. */
export interface Stream<M extends v.GenericSchema = v.GenericSchema> {
  readonly message: M
  readonly windowBytes: number
}

interface Method {
  readonly servedBy: 'gateway' | 'agent'
  /** Roles that may call a method of the gateway; methods of the agent are called by the gateway only. */
  readonly roles: readonly Role[]
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

// the kinds of an upload's messages; PROTOCOL.md section 6 tells their order
export const RUN = { zero: 0, keep: 1, ids: 2 } as const
export const UP = { runs: 0, chunks: 1, proofs: 2 } as const
export const DOWN = { start: 0, answers: 1, verdicts: 2, durable: 3 } as const
export const ANSWER = { have: 0, want: 1, prove: 2 } as const
export const LOAD = { start: 0, zero: 1, chunks: 2 } as const

const position = v.pipe(s.count, v.maxValue(DISK_BYTES_MAX / CHUNK_BYTES_MIN))
const positive = v.pipe(position, v.minValue(1))
const run = v.union([
  v.tuple([v.literal(RUN.zero), positive]),
  v.tuple([v.literal(RUN.keep), positive]),
  v.tuple([
    v.literal(RUN.ids),
    v.pipe(
      s.bytesUpTo(UPLOAD_IDS_MAX * 32),
      v.check((ids) => ids.length % 32 === 0 && ids.length > 0),
    ),
  ]),
])
const chunk = v.tuple([
  s.id32,
  v.picklist([0, 1]),
  v.pipe(s.count, v.minValue(1), v.maxValue(CHUNK_BYTES_MAX)),
  s.bytesUpTo(CHUNK_BYTES_MAX),
])
const chunks = v.pipe(v.array(chunk), v.minLength(1), v.maxLength(FRAME_CHUNKS_MAX))

const uploadUp = v.union([
  v.tuple([v.literal(UP.runs), v.pipe(v.array(run), v.minLength(1), v.maxLength(UPLOAD_RUNS_MAX))]),
  v.tuple([v.literal(UP.chunks), chunks]),
  v.tuple([
    v.literal(UP.proofs),
    v.pipe(v.array(v.tuple([s.id32, s.bytesOf(PROOF_BYTES)])), v.minLength(1), v.maxLength(UPLOAD_IDS_MAX)),
  ]),
])

const uploadDown = v.union([
  v.tuple([v.literal(DOWN.start), v.object({ position, proofKey: s.bytesOf(PROOF_BYTES) })]),
  v.tuple([v.literal(DOWN.answers), s.bytesUpTo(UPLOAD_IDS_MAX)]),
  v.tuple([v.literal(DOWN.verdicts), s.bytesUpTo(UPLOAD_IDS_MAX)]),
  v.tuple([v.literal(DOWN.durable), position]),
])

const downloadDown = v.union([
  v.tuple([
    v.literal(LOAD.start),
    v.object({ size: s.diskBytes, chunkBytes: s.count, root: s.root, idKey: s.id32, position }),
  ]),
  v.tuple([v.literal(LOAD.zero), positive]),
  v.tuple([v.literal(LOAD.chunks), chunks]),
])

/** How a tenant's disks become chunks. */
const chunking = v.object({
  idKey: s.id32,
  chunkBytes: v.pipe(s.count, v.minValue(CHUNK_BYTES_MIN), v.maxValue(CHUNK_BYTES_MAX)),
})
export type Chunking = v.InferOutput<typeof chunking>

const jobDisk = v.object({ ...s.readDisk.entries, doneBytes: s.count })
const job = v.object({
  id: s.uuid,
  machine: s.name,
  state: s.jobState,
  subject: v.string(),
  startedMs: s.timeMs,
  endedMs: v.nullable(s.timeMs),
  bytesSent: s.count,
  disks: s.disks(jobDisk),
  error: v.nullable(s.failure),
})
export type Job = v.InferOutput<typeof job>

const machine = v.object({
  name: s.name,
  agent: s.uuid,
  host: v.string(),
  online: v.boolean(),
  policy: s.policy,
  job: v.nullable(s.uuid),
  lastPoint: v.nullable(v.object({ id: s.uuid, timeMs: s.timeMs })),
})

const machineStatus = v.object({
  name: s.name,
  qmp: v.picklist(['up', 'down']),
  /** QEMU's run state, such as `running` or `paused`. */
  status: v.nullable(v.string()),
  qemu: v.nullable(v.string()),
  lease: v.nullable(s.uuid),
  problem: v.nullable(v.string()),
  disks: s.disks(v.object({ name: s.diskName, size: s.diskBytes, format: v.string(), excluded: v.boolean() })),
})
export type MachineStatus = v.InferOutput<typeof machineStatus>

const json = v.pipe(v.string(), v.maxLength(QMP_CHARS_MAX))
const command = v.pipe(v.string(), v.regex(/^[a-zA-Z0-9_.-]{1,128}$/u, 'not a QMP command'))
const qmp = { params: v.object({ machine: s.name, command, arguments: json }), result: v.object({ value: json }) }
const qmpEvent = v.object({ event: v.string(), timeMs: s.timeMs, data: json })
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
        v.object({ id: s.uuid, host: v.string(), enrolledMs: s.timeMs, revoked: v.boolean(), online: v.boolean() }),
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
    params: v.object({ afterSeq: s.count, limit: s.pageLimit }),
    result: v.object({
      entries: v.pipe(
        v.array(
          v.object({
            seq: s.count,
            timeMs: s.timeMs,
            subject: v.string(),
            role: v.string(),
            action: v.string(),
            resource: v.string(),
            outcome: v.string(),
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
    params: v.object({ machine: s.name, full: v.boolean() }),
    result: jobParams,
  },
  'jobs.list': {
    ...plain,
    servedBy: 'gateway',
    roles: READERS,
    params: v.object({ machine: v.nullable(s.name), limit: s.pageLimit }),
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
    params: v.object({ machine: v.nullable(s.name), beforeMs: v.nullable(s.timeMs), limit: s.pageLimit }),
    result: v.object({ points: v.pipe(v.array(s.point), v.maxLength(PAGE_ROWS_MAX)) }),
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
    params: v.object({ point: s.uuid, disk: s.diskName, position }),
    result: none,
    down: stream(downloadDown, CHUNK_WINDOW_BYTES),
  },

  // what an agent calls while it makes a backup
  'agent.inventory': {
    ...plain,
    servedBy: 'gateway',
    roles: AGENT,
    params: v.object({
      host: v.pipe(v.string(), v.maxLength(255)),
      machines: v.pipe(v.array(s.name), v.maxLength(MACHINES_MAX)),
      /** Jobs whose lease the agent's journal holds. */
      jobs: v.pipe(v.array(s.uuid), v.maxLength(MACHINES_MAX)),
    }),
    result: v.object({
      refused: v.array(v.object({ machine: s.name, ...s.failure.entries })),
      /** What became of each job named; `keys` is what a running one needs to go on. */
      jobs: v.array(v.object({ job: s.uuid, state: v.nullable(s.jobState), keys: v.nullable(chunking) })),
    }),
  },
  'backup.begin': {
    ...plain,
    servedBy: 'gateway',
    roles: AGENT,
    audited: true,
    params: v.object({
      job: s.uuid,
      timeMs: s.timeMs,
      consistency: s.consistency,
      note: s.note,
      configuration: s.configuration,
      disks: s.disks(s.readDisk),
    }),
    result: none,
  },
  'image.upload': {
    ...plain,
    servedBy: 'gateway',
    roles: AGENT,
    params: v.object({ job: s.uuid, disk: s.diskName }),
    result: v.object({ root: s.root }),
    up: stream(uploadUp, CHUNK_WINDOW_BYTES),
    down: stream(uploadDown, STREAM_WINDOW_BYTES),
  },
  'backup.commit': {
    ...plain,
    servedBy: 'gateway',
    roles: AGENT,
    audited: true,
    params: v.object({ job: s.uuid, bytesRead: s.count }),
    result: v.object({ point: s.uuid }),
  },
  'backup.fail': {
    ...plain,
    servedBy: 'gateway',
    roles: AGENT,
    audited: true,
    params: v.object({ job: s.uuid, ...s.failure.entries }),
    result: none,
  },

  // what the gateway calls on an agent
  'agent.backup': {
    ...plain,
    servedBy: 'agent',
    roles: [],
    params: v.object({
      job: s.uuid,
      machine: s.name,
      full: v.boolean(),
      policy: s.policy,
      ...chunking.entries,
      base: v.nullable(
        v.object({ checkpoint: s.uuid, disks: s.disks(v.object({ name: s.diskName, size: s.diskBytes })) }),
      ),
    }),
    result: none,
  },
  'agent.cancel': { ...plain, servedBy: 'agent', roles: [], params: jobParams, result: none },
  'agent.status': { ...plain, servedBy: 'agent', roles: [], params: machineParams, result: machineStatus },
  'agent.qmp': { ...plain, servedBy: 'agent', roles: [], ...qmp },
  'agent.events': {
    ...plain,
    servedBy: 'agent',
    roles: [],
    params: machineParams,
    result: none,
    down: stream(qmpEvent, STREAM_WINDOW_BYTES),
  },
} as const satisfies Record<string, Method>

type Methods = typeof METHODS
export type MethodName = keyof Methods
export type MethodsServedBy<W extends Method['servedBy']> = {
  [N in MethodName]: Methods[N]['servedBy'] extends W ? N : never
}[MethodName]
export type Params<N extends MethodName> = v.InferOutput<Methods[N]['params']>
export type Result<N extends MethodName> = v.InferOutput<Methods[N]['result']>
type MessageOf<S> = S extends Stream<infer M> ? v.InferOutput<M> : never
export type Up<N extends MethodName> = MessageOf<Methods[N]['up']>
export type Down<N extends MethodName> = MessageOf<Methods[N]['down']>
export type WireChunk = v.InferOutput<typeof chunk>

export const isMethod = (name: string): name is MethodName => Object.hasOwn(METHODS, name)
export const methodOf = (name: MethodName): Method => METHODS[name]
