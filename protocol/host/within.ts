// Waits for something that may never come: for a limited time, or until a signal aborts.
import { setTimeout as sleep } from 'node:timers/promises'

/** The promise's value; null when it takes longer than `limitMs`. Its later outcome is ignored. */
export const within = async <T>(promise: Promise<T>, limitMs: number): Promise<T | null> => {
  const { promise: late, resolve } = Promise.withResolvers<null>()
  const timer = setTimeout(() => resolve(null), limitMs)
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}

/** The promise's value; rejects with the signal's reason once it aborts. */
export const orAbort = async <T>(work: Promise<T>, signal: AbortSignal): Promise<T> => {
  const { promise, reject } = Promise.withResolvers<never>()
  const onAbort = (): void => reject(signal.reason)
  signal.addEventListener('abort', onAbort, { once: true })
  if (signal.aborted) onAbort()
  try {
    return await Promise.race([work, promise])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}

/** Resolves after so many milliseconds, or once the signal aborts. */
export const pause = async (ms: number, signal?: AbortSignal): Promise<void> => {
  await sleep(ms, undefined, signal === undefined ? {} : { signal }).catch(() => undefined)
}
