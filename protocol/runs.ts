// Runs: each planned piece of work, a backup or upkeep, with what became of it.
import * as v from 'valibot'
import { planName } from './plans.ts'
import { failure, name, timeMs, uuid } from './schemas.ts'

/**
 * What a run does: a backup of a machine; `prune` removes points by retention; `collect` reclaims unreferenced space; `verify`
 * reads points again; `audit` checks the chain of the audit log; `state` writes a copy of the catalog's state to the packs;
 * `drill` tries a restore.
 */
export const RUN_KINDS = ['backup', 'prune', 'collect', 'verify', 'audit', 'state', 'drill'] as const
export type RunKind = (typeof RUN_KINDS)[number]

/** A run is `due` from its slot on, `running`, and then one of the others for good. */
export const RUN_STATES = ['due', 'running', 'done', 'failed', 'skipped'] as const
export type RunState = (typeof RUN_STATES)[number]

/**
 * Why a run was skipped: `missed` while the gateway was not running or could not, and a newer one stands for it; `fresh`, as the
 * target is met without it; `window`, which closed before its turn came; `excluded`; `disabled`, its plan was turned off or
 * removed; `moved`, the machine belongs to another plan now; `gone`, its agent was revoked or the machine is not there;
 * `superseded`, the next one of the same came before it could start; `nothing`, there was nothing to do.
 */
export const SKIP_REASONS = [
  'missed',
  'fresh',
  'window',
  'excluded',
  'disabled',
  'moved',
  'gone',
  'superseded',
  'nothing',
] as const
export type SkipReason = (typeof SKIP_REASONS)[number]

/** A run as it is shown. */
export const run = v.object({
  id: uuid,
  kind: v.picklist(RUN_KINDS),
  /** Null for upkeep, which is a tenant's. */
  machine: v.nullable(name),
  /** Null for upkeep, and for what a person started. */
  plan: v.nullable(planName),
  /** The instant that it was planned for, jitter included; for what a person started, when that was. */
  dueMs: timeMs,
  state: v.picklist(RUN_STATES),
  /** For skipped ones. */
  skipped: v.nullable(v.picklist(SKIP_REASONS)),
  /** Starts so far. */
  attempts: v.number(),
  /** Why the last start failed; also of one that is due again. */
  error: v.nullable(failure),
  /** When it is tried again, for one that is due. */
  nextMs: v.nullable(timeMs),
  startedMs: v.nullable(timeMs),
  endedMs: v.nullable(timeMs),
  /** Of a backup: its job, the last one if there were several. */
  job: v.nullable(uuid),
  /** Subject of who started it; null for the gateway itself. */
  by: v.nullable(v.string()),
  /** What it did, in a few words for people, such as `removed 12 restore points`; empty where there is nothing to say. */
  summary: v.string(),
})
export type Run = v.InferOutput<typeof run>
