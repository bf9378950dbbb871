// What the agent and the process that QEMU writes to say to each other: lines of JSON on a socket in the lease's folder.
import * as v from 'valibot'
import { join } from 'node:path'
import { READ_KINDS } from '../../protocol/backup.ts'
import { processMarkSchema } from '../process-mark.ts'

/** Where QEMU writes, and where the agent speaks. */
export const writerSocket = (socketFolder: string): string => join(socketFolder, 'push')
export const controlSocket = (socketFolder: string): string => join(socketFolder, 'control')

const text = v.pipe(v.string(), v.minLength(1), v.maxLength(4096))
const natural = v.pipe(v.number(), v.safeInteger(), v.minValue(0))

/** The first line of the process's input. */
export const pushOrderSchema = v.object({
  spoolFolder: text,
  socketFolder: text,
  /** QEMU's user, where that is another than this process's. */
  owner: v.nullable(v.object({ uid: natural, gid: natural })),
  /** Why nothing of what is written may become a restore point; null where it may. */
  broken: v.nullable(text),
  disks: v.array(v.object({ name: text, size: natural, kind: v.picklist(READ_KINDS) })),
})
export type PushOrder = v.InferOutput<typeof pushOrderSchema>

/** What the agent asks; `disk` is the number of a disk in the lease. */
export const askSchema = v.intersect([
  v.object({ id: natural }),
  v.variant('ask', [
    /** How all disks are. */
    v.object({ ask: v.literal('state') }),
    /** The map of a disk from `from` on, once that is final. */
    v.object({ ask: v.literal('map'), disk: natural, from: natural }),
    /** QEMU's job of a disk has ended well. */
    v.object({ ask: v.literal('seal'), disk: natural, writtenBytesMin: natural }),
    /** A disk is durable at the gateway up to there. */
    v.object({ ask: v.literal('discard'), disk: natural, to: natural }),
    /** The lease has ended; the process does, too, and does not answer. */
    v.object({ ask: v.literal('end') }),
  ]),
])
export type Ask = v.InferOutput<typeof askSchema>

export const pushStateSchema = v.object({
  /** The process that answers. */
  process: v.nullable(processMarkSchema),
  disks: v.array(v.object({ writtenBytes: natural, sealed: v.boolean(), broken: v.nullable(v.string()) })),
})
export type PushState = v.InferOutput<typeof pushStateSchema>

export const mapSchema = v.array(v.tuple([v.picklist(['data', 'zero', 'keep']), natural]))

export const answerSchema = v.object({
  id: natural,
  answer: v.optional(v.unknown()),
  /** Why a disk can not become part of a restore point. */
  broken: v.optional(v.string()),
})
