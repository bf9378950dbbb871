// A record that was found damaged: what is known of it, and its form as an error.
import { fromHex } from '../../protocol/chunk.ts'
import type { VarveError } from '../../protocol/errors.ts'
import type { DamagedRecord } from '../../protocol/maintenance.ts'
import { RECORD, type RecordType } from './format.ts'

/** Where a record was read. */
export interface DamagePlace {
  /** The pack's uuid. */
  readonly pack: string
  readonly offset: number
}

export interface Damage {
  readonly id: Uint8Array
  readonly type: RecordType
  /** Null where the index did not have it. */
  readonly place: DamagePlace | null
  readonly reason: string
}

/** Types of records as people read them. */
export const RECORD_TYPE_NAMES: Readonly<Record<RecordType, DamagedRecord['type']>> = {
  [RECORD.chunk]: 'chunk',
  [RECORD.node]: 'node',
  [RECORD.manifest]: 'manifest',
  [RECORD.state]: 'state',
}

/** The reason for a record that the index does not have. */
export const MISSING = 'missing'

/** The errors that this datastore raised itself: a peer's errors look the same and must never remove anything from the index. */
const own = new WeakSet<VarveError>()

/** Marks a DATA_DAMAGED as the datastore's own, so that `damageOf` trusts its details; returns it. */
export const ownDamage = (error: VarveError): VarveError => {
  own.add(error)
  return error
}

/** The same for errors from our threads, which arrive as copies. */
export const ownIfDamage = (error: VarveError): void => {
  if (error.code === 'DATA_DAMAGED') ownDamage(error)
}

const isType = (value: unknown): value is RecordType => Object.values<unknown>(RECORD).includes(value)

/** The record that the datastore's own DATA_DAMAGED names, of type `type` if it has none; null for any other error. */
export const damageOf = (error: VarveError, type: RecordType = RECORD.chunk): Damage | null => {
  const { code, message, details } = error
  const { id, pack, offset } = details
  if (code !== 'DATA_DAMAGED' || !own.has(error) || typeof id !== 'string') return null
  const known = isType(details['type']) ? details['type'] : type
  const place = typeof pack === 'string' && typeof offset === 'number' ? { pack, offset } : null
  return { id: fromHex(id), type: known, place, reason: place === null ? MISSING : message }
}
