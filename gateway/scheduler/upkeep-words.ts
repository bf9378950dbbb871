// What upkeep did, in a sentence for the list of runs.
import type { CollectionReport, VerifyReport } from '../../protocol/maintenance.ts'
import { sizeText } from '../../protocol/host/size.ts'

const numbers = new Intl.NumberFormat('en')

const many = (count: number, one: string, more = `${one}s`): string =>
  `${numbers.format(count)} ${count === 1 ? one : more}`

export const pruneSummary = (removed: number): string => `removed ${many(removed, 'restore point')}`

export const collectSummary = ({ bytesBefore, bytesAfter, dead, packs }: CollectionReport): string => {
  const freed = `freed ${sizeText(Math.max(0, bytesBefore - bytesAfter))}`
  return `${freed}: ${sizeText(dead.bytes)} were not needed any more; ${many(packs.removed, 'pack')} removed, ${packs.rewritten} rewritten`
}

/** What a verification of several machines came to. */
export interface Verified {
  machines: number
  /** Machines that are due and were not begun with. */
  left: number
  points: number
  bytes: number
  /** Records that were found damaged. */
  damaged: number
}

const foundText = (damaged: number): string =>
  damaged === 0 ? 'nothing damaged' : `${many(damaged, 'damaged record')} found`

export const verifySummary = ({ points, bytes, damagedCount }: VerifyReport): string =>
  `verified ${many(points, 'restore point')}, ${sizeText(bytes)} read: ${foundText(damagedCount)}`

export const verifiedSummary = ({ machines, left, points, bytes, damaged }: Verified): string => {
  const done = `verified ${many(points, 'restore point')} of ${many(machines, 'machine')}, ${sizeText(bytes)} read`
  const found = foundText(damaged)
  return `${done}: ${found}${left === 0 ? '' : `; ${many(left, 'more machine')} ${left === 1 ? 'is' : 'are'} due`}`
}
