// Leases of other programs are taken in the name of a holder that stands for their target, beside this host's agents: so their
// bitmaps have names of their own, and nobody's checkpoints disturb another's.
import { createHash } from 'node:crypto'

const HOLDER = /^target ([A-Za-z0-9][A-Za-z0-9._-]{0,62}) [0-9a-f]{8}$/u

/** The holder of a target's leases: its last eight digits, which go into the names of bitmaps, are those of the target's name. */
export const holderOf = (target: string): string =>
  `target ${target} ${createHash('sha256').update(`varve target ${target}`).digest('hex').slice(0, 8)}`

/** The target that a lease is of; null for one of a backup. */
export const targetOf = (holder: string): string | null => HOLDER.exec(holder)?.[1] ?? null
