// The target of a restored disk: one interface, written from left to right, visible under its name only when complete.

/** A disk being written; `write` and `zero` are called in ascending order without gaps, a few at a time. */
export interface Target extends AsyncDisposable {
  write(offset: number, bytes: Uint8Array): Promise<void>
  zero(offset: number, length: number): Promise<void>
  /** Makes everything durable under its final name, and returns what has changed besides; without it, disposing removes all. */
  commit(): Promise<readonly string[]>
}

/** A target whose commit has steps, so that several disks get their names together or none does; `commit` takes all of them. */
export interface SteppedTarget extends Target {
  /** Makes everything durable that was written, which may take long. */
  seal(): Promise<void>
  /** Looks whether the name may be taken still; TARGET_IN_USE, TARGET_EXISTS. */
  check(): Promise<void>
  /** Gives the name after `seal` and `check`, in little time, and returns what has changed besides. */
  publish(): Promise<readonly string[]>
}
