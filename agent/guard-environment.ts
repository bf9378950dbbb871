// The environment of the processes that outlive the agent or are not its own: minimal, so that nothing of the agent's leaks.

/** The path, the temporary folder, where Node keeps compiled sources (it starts in a third of the time), and how many heaps. */
const KEPT = ['PATH', 'TMPDIR', 'NODE_COMPILE_CACHE', 'MALLOC_ARENA_MAX'] as const

/** The variables that a guard process gets. */
export const guardEnvironment = (): Record<string, string> =>
  Object.fromEntries(
    KEPT.flatMap((name) => {
      const value = process.env[name]
      return value === undefined ? [] : [[name, value]]
    }),
  )
