// What making a restore point took on its host, in words; what its agent did not tell is said so. Pure.
import type { Took } from '../../../../protocol/schemas.ts'
import { bytesText, durationText } from '../../parts/format.ts'
import { machine as texts } from '../../texts/machine.ts'

/** For how long the guest was frozen. */
export const frozenText = (took: Took | null): string => {
  const frozenMs = took?.frozenMs ?? null
  if (frozenMs === null) return texts.took.untold
  return frozenMs === 0 ? texts.took.notFrozen : durationText(frozenMs)
}

/** The most that its scratch images took, and what they could have taken. */
export const scratchText = (took: Took | null): string => {
  const scratch = took?.scratch ?? null
  if (scratch === null) return texts.took.untold
  const { usedBytes, limitBytes } = scratch
  if (limitBytes === null) return usedBytes === 0 ? texts.took.noScratch : bytesText(usedBytes)
  return texts.took.scratchOf(bytesText(usedBytes), bytesText(limitBytes))
}

/** How long each kind of step took but for the freeze, which is within the first one; null where none are told. */
export const stepsText = (took: Took | null): string | null => {
  const told = took?.steps.filter(({ step }) => step !== 'freeze') ?? []
  if (told.length === 0) return null
  return told.map(({ step, tookMs }) => `${texts.took.steps[step]} ${durationText(tookMs)}`).join(', ')
}
