// The target of a restored disk: one interface, written from left to right, visible under its name only when complete.

/** What a disk is written to; both are called in ascending order without gaps, a few at a time. */
export interface DiskWriter {
  write(offset: number, bytes: Uint8Array): Promise<void>
  zero(offset: number, length: number): Promise<void>
}

/** It ends in steps, so that several disks get their names together or none does; disposing without the last removes all. */
export interface Target extends DiskWriter, AsyncDisposable {
  /** Makes everything durable that was written, which may take long; nothing is written after it. */
  seal(): Promise<void>
  /** Looks whether the name may be taken still; TARGET_IN_USE, TARGET_EXISTS. */
  check(): Promise<void>
  /** Gives the name after `seal` and `check`, in little time, and returns what has changed besides. */
  publish(): Promise<readonly string[]>
}

/** Takes all steps of a target that is written: it is durable under its name then. Returns what has changed besides. */
export const commitTarget = async (target: Target): Promise<readonly string[]> => {
  await target.seal()
  await target.check()
  return await target.publish()
}
