// Settings of the datastore.
import type { Question, Transaction } from './call.ts'

export interface Settings {
  readonly get: Question<{ name: string }, string | null>

  /** The value that is there afterwards: an existing one is kept. */
  readonly init: Transaction<{ name: string; value: string }, string>

  readonly set: Transaction<{ name: string; value: string }, null>
}
