// Drills: a copy of a machine was started from a restore point, and what came of it; as they travel.
import * as v from 'valibot'
import { DRILL_LOG_CHARS_MAX, DRILL_PICTURE_BYTES_MAX } from './limits.ts'
import { isPicture } from './picture.ts'
import * as s from './schemas.ts'

/** What ran the guest: the host's virtualisation, or QEMU's emulation, which is many times slower. */
export const DRILL_ACCELERATORS = ['kvm', 'tcg'] as const

/** Longest sentence of a drill, in characters. */
export const DRILL_CHARS_MAX = 512

/** Most sentences that say what of the machine was not as it is. */
export const DRILL_REMARKS_MAX = 16

const sentence = v.pipe(v.string(), v.maxLength(DRILL_CHARS_MAX), v.regex(/^\P{Cc}*$/u, 'control characters'))

/** What a drill found, as who made it tells it. */
export const drillOutcome = v.pipe(
  v.object({
    verdict: s.drillVerdict,
    /** Why it failed, or what the evidence was; one sentence. */
    reason: v.pipe(sentence, v.minLength(1)),
    /** The check: `guest-agent`, `serial:REGEX` or `command:PROGRAM …`. */
    check: v.pipe(sentence, v.minLength(1)),
    /** Where it was made. */
    host: v.pipe(v.string(), v.maxLength(255), v.regex(/^\P{Cc}*$/u, 'control characters')),
    startedMs: s.timeMs,
    /** From the start until the machine's firmware began; nil where it never did. */
    firmwareMs: v.nullable(s.count),
    /** From the start until the evidence; nil without any. */
    evidenceMs: v.nullable(s.count),
    /** From the start until nothing of it was left. */
    durationMs: s.count,
    /** How long the machine had from its firmware's start until the evidence. */
    bootLimitMs: s.count,
    accelerator: v.picklist(DRILL_ACCELERATORS),
    memoryBytes: s.count,
    cpus: s.count,
    /** Stored bytes that came from the gateway, and bytes that the guest wrote. */
    bytesReceived: s.count,
    bytesWritten: s.count,
    /** What of the machine was not as it is, such as a network card that was left out; sentences. */
    remarks: v.pipe(v.array(sentence), v.maxLength(DRILL_REMARKS_MAX)),
  }),
  v.check(
    ({ verdict, evidenceMs }) => (verdict === 'passed') === (evidenceMs !== null),
    'a verdict without its evidence',
  ),
)
export type DrillOutcome = v.InferOutput<typeof drillOutcome>

/** A PNG of the screen, of the one kind that is taken (`isPicture`). */
export const drillPicture = v.nullable(
  v.pipe(s.bytesUpTo(DRILL_PICTURE_BYTES_MAX), v.check(isPicture, 'not a PNG of the kind that is taken')),
)

/** The end of what came from the serial console: lines without control characters but tabs. */
export const drillLog = v.pipe(
  v.string(),
  v.maxLength(DRILL_LOG_CHARS_MAX),
  v.regex(/^[\P{Cc}\n\t]*$/u, 'control characters'),
)

/** A drill as lists have it. */
export const drill = v.object({
  id: s.uuid,
  point: s.uuid,
  machine: s.name,
  /** The point's time. */
  timeMs: s.timeMs,
  /** Subject of who made it. */
  by: v.string(),
  /** When the gateway took it, by its clock. */
  addedMs: s.timeMs,
  ...drillOutcome.entries,
  /** Bytes of the picture; nil without one. */
  pictureBytes: v.nullable(s.count),
  /** Characters of the serial console's end. */
  logChars: s.count,
})
export type Drill = v.InferOutput<typeof drill>
