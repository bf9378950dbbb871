// Which sockets a lease began with: the next lease of a machine may have another one at the same path.

import { stat } from 'node:fs/promises'

/** What tells the sockets of one path apart, by path; null for one that is not there. */
export type SocketMarks = ReadonlyMap<string, string | null>

const markOf = async (path: string): Promise<string | null> => {
  try {
    const { dev, ino, ctimeNs } = await stat(path, { bigint: true })
    return `${dev}:${ino}:${ctimeNs}`
  } catch {
    return null
  }
}

export const markSockets = async (paths: readonly string[]): Promise<SocketMarks> => {
  const marks = new Map<string, string | null>()
  for (const path of new Set(paths)) marks.set(path, await markOf(path))
  return marks
}

/** The path of one that is gone or another; null for none. */
export const changedSocket = async (marks: SocketMarks): Promise<string | null> => {
  for (const [path, mark] of marks) if (mark === null || (await markOf(path)) !== mark) return path
  return null
}
