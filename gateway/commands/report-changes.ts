// What differs between two disks, as lines for people and as figures.
import type { ChangedRange, ChangeKind } from '../../protocol/changes.ts'
import { CHANGE_KINDS } from '../../protocol/changes.ts'
import type { Result } from '../../protocol/methods.ts'
import { sizeText } from '../../protocol/host/size.ts'

export const CHANGE_HEADING = ['DISK', 'OFFSET', 'BYTES', 'NOW']

export const changeCells = ({ disk, offset, bytes, kind }: ChangedRange & { readonly disk: string }): string[] => [
  disk,
  String(offset),
  String(bytes),
  kind,
]

/** The figures of one disk, and a sentence with them. */
export interface DiskDifference {
  readonly disk: string
  readonly size: number
  readonly fromSize: number | null
  readonly granularity: number
  readonly changedBytes: number
  readonly dataBytes: number
  readonly zeroBytes: number
  readonly damagedBytes: number
  readonly sentence: string
}

const sizeNote = (size: number, fromSize: number | null): string => {
  if (fromSize === null) return ' (against an empty disk)'
  return size === fromSize ? '' : ` (it had ${sizeText(fromSize)})`
}

/** Sums up the pages of one disk. */
export const diskDifference = (
  disk: string,
): { add: (page: Result<'points.changes'>) => void; readonly told: DiskDifference } => {
  const sums: Record<ChangeKind, number> = { data: 0, zero: 0, damaged: 0 }
  let about = { size: 0, fromSize: null as number | null, granularity: 0 }
  return {
    add: ({ size, fromSize, granularity, ranges }) => {
      about = { size, fromSize, granularity }
      for (const { kind, bytes } of ranges) sums[kind] += bytes
    },
    get told() {
      const { size, fromSize } = about
      const { data: dataBytes, zero: zeroBytes, damaged: damagedBytes } = sums
      const changedBytes = dataBytes + zeroBytes + damagedBytes
      const words = { data: 'data', zero: 'zeroes', damaged: 'damaged' }
      const parts = CHANGE_KINDS.filter((kind) => sums[kind] > 0).map(
        (kind) => `${sizeText(sums[kind])} ${words[kind]}`,
      )
      const note = sizeNote(size, fromSize)
      const sentence =
        changedBytes === 0
          ? `${disk}: nothing of ${sizeText(size)} differs${note}.`
          : `${disk}: ${sizeText(changedBytes)} of ${sizeText(size)} differ${note}: ${parts.join(', ')}.`
      return { disk, ...about, changedBytes, dataBytes, zeroBytes, damagedBytes, sentence }
    },
  }
}
