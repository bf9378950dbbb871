// Makes free memory ready: pages that a virtual machine gave back to its host are slow when they are first touched again.
import { open, rm } from 'node:fs/promises'
import path from 'node:path'

const STEP_BYTES = 4 * 2 ** 20

/**
 * Writes so many bytes to a file of the folder and removes it, so that whoever allocates memory next is given pages that
 * the host has just provided.
 * Memory of a process would not do: freed in large blocks, it goes back to the host at once.
 */
export const touchFreeMemory = async (folder: string, bytes: number, signal: AbortSignal): Promise<void> => {
  const file = path.join(folder, 'touched')
  const step = Buffer.alloc(STEP_BYTES, 1)
  try {
    await using handle = await open(file, 'w')
    for (let at = 0; at < bytes; at += STEP_BYTES) {
      signal.throwIfAborted()
      await handle.write(step)
    }
  } finally {
    await rm(file, { force: true })
  }
}
