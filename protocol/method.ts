// What a row of the table of methods is, and what the rows share: who may call, and how a list is read page by page.
import * as v from 'valibot'
import type { Role } from './claims.ts'
import { STREAM_WINDOW_BYTES } from './limits.ts'

/** One direction of a stream: what its messages are and how many bytes of them may be in flight. */
export interface Stream<M extends v.GenericSchema = v.GenericSchema> {
  readonly message: M
  readonly windowBytes: number
}

export interface Method {
  readonly servedBy: 'gateway' | 'agent'
  /** Roles that may call a method of the gateway; methods of the agent are called by the gateway only. */
  readonly roles: readonly Role[]
  /** An agent calls it only on the connection on which it serves its machines; NOT_SERVING on another one. */
  readonly serving?: boolean
  /** Whether a call leaves one entry in the audit log, whatever it ends with; a look leaves none, nor does a dry run. */
  readonly audited: boolean | 'unless dryRun'
  readonly params: v.GenericSchema
  readonly result: v.GenericSchema
  /** Messages from the caller. */
  readonly up: Stream | null
  /** Messages to the caller. */
  readonly down: Stream | null
}

export const streamOf = <M extends v.GenericSchema>(message: M, windowBytes = STREAM_WINDOW_BYTES): Stream<M> => ({
  message,
  windowBytes,
})

export const none = v.object({})

/** A method of the gateway that only looks. */
export const plain = { servedBy: 'gateway', up: null, down: null, audited: false } as const

/** A method of the gateway that leaves an entry in the audit log. */
export const audited = { ...plain, audited: true } as const

/** A method of the gateway of which a dry run only looks; its parameters have `dryRun`. */
export const dryable = { ...plain, audited: 'unless dryRun' } as const

/** Whether a call with these parameters is an act, which leaves an entry in the audit log; otherwise it only looks. */
export const isAct = ({ audited }: Pick<Method, 'audited'>, params: object): boolean =>
  audited === 'unless dryRun' ? Reflect.get(params, 'dryRun') !== true : audited

export const PEOPLE = ['owner', 'operator', 'viewer', 'auditor'] as const
export const READERS = ['owner', 'operator', 'viewer', 'auditor', 'agent'] as const
export const OPERATORS = ['owner', 'operator'] as const
export const STARTERS = ['owner', 'operator', 'agent'] as const
export const OWNER = ['owner'] as const
export const AGENT = ['agent'] as const
export const PLATFORM = ['platform'] as const
/** Who gives out tokens: an owner those of the own tenant, the platform any. */
export const ISSUERS = ['owner', 'platform'] as const

/** What an agent calls while it serves its machines. */
export const served = { ...plain, roles: AGENT, serving: true } as const
