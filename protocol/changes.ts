// What differs between two images of disks, as ranges of bytes.
import * as v from 'valibot'
import { DISK_BYTES_MAX } from './chunk.ts'
import * as s from './schemas.ts'

/** Ranges of one answer. */
export const CHANGES_MAX = 4096

/** `data`: it holds content now. `zero`: it holds only zeroes now. `damaged`: what it holds, or held, cannot be read. */
export const CHANGE_KINDS = ['data', 'zero', 'damaged'] as const
export type ChangeKind = (typeof CHANGE_KINDS)[number]

const isPowerOfTwo = (value: number): boolean => Number.isInteger(Math.log2(value))

/** How finely is told where a disk differs, in bytes. */
export const granularity = v.pipe(
  s.count,
  v.minValue(1),
  v.maxValue(DISK_BYTES_MAX),
  v.check(isPowerOfTwo, 'not a power of two'),
)

/** A range that differs, in bytes. */
export const changedRange = v.object({ offset: s.diskBytes, bytes: s.diskBytes, kind: v.picklist(CHANGE_KINDS) })
export type ChangedRange = v.InferOutput<typeof changedRange>
