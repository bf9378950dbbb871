// Waits for something for a limited time: a file system that hangs or a process that is stopped never answers.

/** The promise's value; null when it takes longer than `limitMs`. What it does later is nobody's business any more. */
export const within = async <T>(promise: Promise<T>, limitMs: number): Promise<T | null> => {
  const { promise: late, resolve } = Promise.withResolvers<null>()
  const timer = setTimeout(() => resolve(null), limitMs)
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}
