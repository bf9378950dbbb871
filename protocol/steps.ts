// The steps of a backup as its agent made them, which it tells with the end: what took how long.
import * as v from 'valibot'
import { BACKUP_STEPS } from './backup.ts'
import { DISKS_MAX } from './limits.ts'
import { count, diskName } from './schemas.ts'

/** Steps of one backup. */
export const STEPS_MAX = DISKS_MAX + 16

export const step = v.object({
  step: v.picklist(BACKUP_STEPS),
  /** Of the step `disk`; nil else. */
  disk: v.nullable(diskName),
  /** How long before this message the step began, in milliseconds: no clocks are compared. */
  agoMs: count,
  /** How long it took, in milliseconds; of one that failed, until then. */
  tookMs: count,
  /** Bytes that were read from the disk. */
  bytes: count,
})
export type Step = v.InferOutput<typeof step>

/** Where an agent's time went since it told before: parts of `overMs`, in milliseconds. */
export const spent = v.object({
  overMs: count,
  /** It waited for the disk. */
  readingMs: count,
  /** Its threads hashed and compressed. */
  compressingMs: count,
  /** What it had to send waited: for credit, for the socket, or for the bandwidth that it may use. */
  sendingMs: count,
  /** It had nothing to do but wait for answers of the gateway's. */
  answersMs: count,
})
export type Spent = v.InferOutput<typeof spent>

export const steps = v.pipe(v.array(step), v.maxLength(STEPS_MAX))
