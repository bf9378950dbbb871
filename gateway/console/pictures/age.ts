// The age of a machine's newest point against its target, as a bar. Pure.
import type { Covered } from '../../../protocol/coverage.ts'
import type { Tone } from '../parts/basics.tsx'

/** From this share of the target on the bar warns: the next point is due soon. */
const NEAR = 0.8

export interface AgePicture {
  readonly ageMs: number
  readonly targetMs: number
  /** Of the target; past 1 it is older than it may be. */
  readonly share: number
  readonly tone: Tone
}

/** Null where there is no point, or nothing is expected. */
export const agePicture = (
  { lastPointMs, targetMs }: Pick<Covered, 'lastPointMs' | 'targetMs'>,
  nowMs: number,
): AgePicture | null => {
  if (lastPointMs === null || targetMs === null) return null
  const ageMs = Math.max(0, nowMs - lastPointMs)
  const share = targetMs === 0 ? 2 : ageMs / targetMs
  return { ageMs, targetMs, share, tone: share > 1 ? 'bad' : share > NEAR ? 'warn' : 'good' }
}
