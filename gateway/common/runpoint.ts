// Named places of the scheduler at which tests end a gateway; in production none is armed and each costs one comparison.

/** Every place, in the order in which a round passes them. */
export const RUNPOINTS = [
  'run.plan',
  'run.planned',
  'run.end',
  'run.ended',
  'run.start',
  'run.started',
  'run.claim',
  'run.claimed',
] as const
export type RunpointName = (typeof RUNPOINTS)[number]

/** What a test does at such a place: return, or throw. `subject` is the run, where there is one. */
export type RunpointHook = (name: RunpointName, subject: string) => void

let armed: RunpointHook | null = null

/** A place at which a test may end the gateway. */
export const runpoint = (name: RunpointName, subject = ''): void => {
  if (armed !== null) armed(name, subject)
}

/** Calls `hook` at every place that is passed, until it is disposed of. */
export const armRunpoints = (hook: RunpointHook): Disposable => {
  armed = hook
  return { [Symbol.dispose]: () => void (armed = null) }
}
