// What making a restore point took, summed up from what its agent told with the commit. Pure.
import { BACKUP_STEPS } from '../../protocol/backup.ts'
import type { Params } from '../../protocol/methods.ts'
import type { Took } from '../../protocol/schemas.ts'

/** The longest that a sum of what agents claim becomes, in milliseconds: what a manifest can hold. */
const TOOK_MS_MAX = Number.MAX_SAFE_INTEGER

/** Null where the agent told nothing. One that tells of its steps only tells of a freeze by its step. */
export const tookOf = (told: Pick<Params<'backup.commit'>, 'steps' | 'frozenMs' | 'scratch'>): Took | null => {
  const { scratch } = told
  const steps = BACKUP_STEPS.flatMap((step) => {
    const taken = told.steps.filter((one) => one.step === step)
    const sumMs = taken.reduce((sum, { tookMs }) => sum + tookMs, 0)
    return taken.length === 0 ? [] : [{ step, tookMs: Math.min(sumMs, TOOK_MS_MAX) }]
  })
  const frozenMs = told.frozenMs ?? steps.find(({ step }) => step === 'freeze')?.tookMs ?? null
  return frozenMs === null && scratch === null && steps.length === 0 ? null : { frozenMs, scratch, steps }
}
