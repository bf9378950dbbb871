// What is worth knowing of a restore point at a glance, each as a mark with a word.
import type { ComponentChildren } from 'preact'
import type { KeepReason } from '../../../../protocol/retention.ts'
import type { Point } from '../../../../protocol/schemas.ts'
import { nowMs } from '../../frame/console.ts'
import { Mark, type Tone } from '../../parts/basics.tsx'
import { drills } from '../../texts/drills.ts'
import { machine as texts } from '../../texts/machine.ts'

export interface Badge {
  /** Null for what is neither good nor bad. */
  readonly tone: Tone | null
  readonly text: string
}

export const isLocked = ({ lockedUntilMs }: Pick<Point, 'lockedUntilMs'>, now: number): boolean =>
  (lockedUntilMs ?? 0) > now

/** Whether somebody reads it for longer than a call, as a machine does that runs from it. */
export const isUsed = ({ usedUntilMs }: Pick<Point, 'usedUntilMs'>, now: number): boolean => (usedUntilMs ?? 0) > now

/** The badges of a point, the worst first; `keptBy` is null where nobody said. */
export const badgesOf = (point: Point, keptBy: readonly KeepReason[] | null, now: number): Badge[] => {
  const { badges } = texts
  const { drill } = point
  const all: (Badge | null)[] = [
    point.lostBytes > 0 ? { tone: 'bad', text: badges.damaged } : null,
    point.future ? { tone: 'warn', text: badges.future } : null,
    drill?.verdict === 'failed' ? { tone: 'bad', text: drills.badges.failed } : null,
    point.leftOut.length > 0 ? { tone: 'warn', text: badges.leftOut(point.leftOut.length) } : null,
    point.kind === 'full' ? { tone: null, text: badges.full } : null,
    point.lostBytes === 0 && point.verifiedMs !== null ? { tone: 'good', text: badges.verified } : null,
    drill?.verdict === 'passed' ? { tone: 'good', text: drills.badges.passed } : null,
    point.held ? { tone: 'good', text: badges.held } : null,
    isUsed(point, now) ? { tone: 'busy', text: badges.used } : null,
    isLocked(point, now) ? { tone: 'good', text: badges.locked } : null,
    keptBy !== null && keptBy.length === 0 ? { tone: 'quiet', text: badges.goes } : null,
  ]
  return all.filter((badge) => badge !== null)
}

export const Badges = ({ point, keptBy }: { point: Point; keptBy: readonly KeepReason[] | null }): ComponentChildren =>
  badgesOf(point, keptBy, nowMs.value).map(({ tone, text }) =>
    tone === null ? (
      <span key={text} class="tag">
        {text}
      </span>
    ) : (
      <Mark key={text} tone={tone}>
        {text}
      </Mark>
    ),
  )
