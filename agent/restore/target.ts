// Where a restored disk goes: one interface, written from left to right, visible under its name only when it is whole.

/** A disk being written; `write` and `zero` come in ascending order without gaps, a few of them before the earlier ones are done. */
export interface Target extends AsyncDisposable {
  write(offset: number, bytes: Uint8Array): Promise<void>
  zero(offset: number, length: number): Promise<void>
  /** Makes everything durable and gives it its final name, and says what is not as it was before; without it, disposing leaves nothing behind. */
  commit(): Promise<readonly string[]>
}
