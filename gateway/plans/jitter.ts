// How far behind its slot a machine's backup starts, so that not all of a plan start at once: always alike for the same names.
import { createHash } from 'node:crypto'

/** Names that tell one machine's place in a plan from all others. */
export interface JitterOf {
  readonly tenant: string
  readonly machine: string
  readonly plan: string
}

/** Below `widthMs`, in whole milliseconds; 0 for no width. */
export const jitterMs = ({ tenant, machine, plan }: JitterOf, widthMs: number): number => {
  if (widthMs <= 0) return 0
  const hash = createHash('sha256')
    .update(JSON.stringify([tenant, machine, plan]))
    .digest()
  // 48 bits are far more than any width, so none of it is likelier than another
  return Math.floor((hash.readUIntBE(0, 6) / 2 ** 48) * widthMs)
}
