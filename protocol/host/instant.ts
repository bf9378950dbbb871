// Instants as people read them.

/** An instant in UTC, to the second, such as `2026-02-03 04:05:06`. */
export const utcText = (ms: number): string => new Date(ms).toISOString().replace('T', ' ').slice(0, 19)
