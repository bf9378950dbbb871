// Makes free memory ready: pages that a virtual machine gave back to its host are slow when they are first touched again.
import { readFile } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { run } from '../rig/run.ts'

/** Beyond this share of the free memory, what is cached of the images could be dropped. */
const FREE_SHARE_MAX = 0.8

const STEP_BYTES = 64 * 2 ** 20

const TOUCH = `const kept = []
for (let left = Number(process.argv[1]); left > 0; left -= ${STEP_BYTES}) {
  const bytes = Buffer.allocUnsafeSlow(${STEP_BYTES})
  for (let at = 0; at < ${STEP_BYTES}; at += 4096) bytes[at] = 1
  kept.push(bytes)
}`

const freeBytes = async (): Promise<number> => {
  const kibibytes = /^MemFree:\s+(\d+) kB$/m.exec(await readFile('/proc/meminfo', 'utf8'))?.[1]
  return Number(kibibytes ?? 0) * 1024
}

/** Writes to so many bytes of memory that nothing uses, fewer where fewer are free, and frees them again. */
export const touchFreeMemory = async (wantedBytes: number, signal: AbortSignal): Promise<void> => {
  const bytes = Math.min(wantedBytes, FREE_SHARE_MAX * (await freeBytes()))
  const processes = availableParallelism()
  const share = String(Math.floor(bytes / processes))
  await Promise.all(Array.from({ length: processes }, () => run(process.execPath, ['-e', TOUCH, share], { signal })))
}
