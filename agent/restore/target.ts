// The target of a restored disk: one interface, written from left to right, visible under its name only when complete.

/** A disk being written; `write` and `zero` are called in ascending order without gaps, a few at a time. */
export interface Target extends AsyncDisposable {
  write(offset: number, bytes: Uint8Array): Promise<void>
  zero(offset: number, length: number): Promise<void>
  /** Makes everything durable under its final name, and returns what has changed besides; without it, disposing removes all. */
  commit(): Promise<readonly string[]>
}
