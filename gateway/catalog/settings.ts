// Settings of the datastore, and their names.
import type { Question, Transaction } from './call.ts'

/** The datastore's format version. */
export const FORMAT_SETTING = 'format'

/** The gateway's uuid. */
export const GATEWAY_SETTING = 'gateway'

/** The id of the newest signing key. */
export const KEY_SETTING = 'signing-key'

/** The uuid of the mark of the packs. */
export const PACKS_SETTING = 'packs'

export interface Settings {
  readonly get: Question<{ name: string }, string | null>

  /** The value that is there afterwards: an existing one is kept. */
  readonly init: Transaction<{ name: string; value: string }, string>

  readonly set: Transaction<{ name: string; value: string }, null>
}
