// What is told of restore points that a prune has removed: one event for all of them.
import type { Happening } from './events.ts'

/** `removed` is how many; `subject` who asked for it. */
export const removedPoints = (of: {
  readonly tenant: string
  readonly removed: number
  readonly subject: string
}): Happening => {
  const { tenant, removed, subject } = of
  const text = removed === 1 ? 'a restore point was removed' : `${removed} restore points were removed`
  return { kind: 'point.removed', tenant, text, data: { count: removed, subject } }
}
