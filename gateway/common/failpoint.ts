// Named places of the datastore at which tests inject failures or crashes; in production none is armed and each costs one
// comparison.

/** Every place, in the order in which a backup, a prune and a collection pass them. */
export const FAILPOINTS = [
  'pack.create',
  'pack.created',
  'pack.append',
  'pack.append.half',
  'pack.sync',
  'pack.synced',
  'pack.seal',
  'pack.read',
  'pack.remove',
  'pack.unlinked',
  'pack.removed',
  'transaction.before',
  'transaction.after',
  'epoch.raised',
  'index.commit',
  'index.forget',
  'manifest.write',
  'manifest.written',
  'state.write',
  'prune',
  'mark',
  'sweep',
  'rewrite.copy',
  'rewrite.move',
  'doom',
  'unlink',
] as const
export type FailpointName = (typeof FAILPOINTS)[number]

/**
 * What a test does at a failpoint: return, throw an error of the operating system, or never return. `subject` is the file, where
 * there is one.
 */
export type FailpointHook = (name: FailpointName, subject: string) => void

let armed: FailpointHook | null = null

/** A place at which a test may stop this thread. */
export const failpoint = (name: FailpointName, subject = ''): void => {
  if (armed !== null) armed(name, subject)
}

/** Whether a test watches this thread. */
export const failpointsArmed = (): boolean => armed !== null

/** Calls `hook` at every failpoint that this thread passes, until it is disposed of. */
export const armFailpoints = (hook: FailpointHook): Disposable => {
  armed = hook
  return { [Symbol.dispose]: () => void (armed = null) }
}
