// The one table of methods: who serves each, who may call it, what goes in and out. Validator, client and documents follow it.
import type * as v from 'valibot'
import { AGENT_METHODS } from './agent-methods.ts'
import { BACKUP_METHODS } from './backup-methods.ts'
import { COVERAGE_METHODS } from './coverage-methods.ts'
import { DRILL_METHODS } from './drill-methods.ts'
import { EVENT_METHODS } from './event-methods.ts'
import { IDENTITY_METHODS } from './identity-methods.ts'
import { MACHINE_METHODS } from './machine-methods.ts'
import type { Method, Stream } from './method.ts'
import { NOTIFY_METHODS } from './notify-methods.ts'
import { PLAN_METHODS } from './plan-methods.ts'
import { POINT_METHODS } from './point-methods.ts'
import { RESTORE_METHODS } from './restore-methods.ts'
import { RUN_METHODS } from './run-methods.ts'
import { TENANT_METHODS } from './tenant-methods.ts'
import { UPKEEP_METHODS } from './upkeep-methods.ts'

export { ANSWER, ASK, DOWN, FOUND, LOAD, RUN, UP, type Chunking, type Reread } from './transfer.ts'
export type { Checkpoint, CheckpointList, Forgotten, Job, MachineStatus } from './views.ts'

export const METHODS = {
  ...IDENTITY_METHODS,
  ...TENANT_METHODS,
  ...MACHINE_METHODS,
  ...PLAN_METHODS,
  ...BACKUP_METHODS,
  ...POINT_METHODS,
  ...RESTORE_METHODS,
  ...DRILL_METHODS,
  ...UPKEEP_METHODS,
  ...COVERAGE_METHODS,
  ...EVENT_METHODS,
  ...RUN_METHODS,
  ...NOTIFY_METHODS,
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
