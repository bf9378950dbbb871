// Keeps free memory ready while something is timed: pages that a virtual machine gave back to its host are slow to be touched again.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { availableParallelism } from 'node:os'

/** Beyond this share of the free memory, what is cached of the images could be dropped. */
const FREE_SHARE_MAX = 0.8

const STEP_BYTES = 64 * 2 ** 20

/** A kernel may report free pages to its host after 2 s, so no more is freed at once than is soon used. */
const STEP_INTERVAL_MS = 120

/** What is freed before the operation begins, in steps. */
const FIRST_STEPS = 12

/** Touches so many bytes, frees the first few, says so, and frees the others bit by bit; its own end must not fall into what is timed. */
const LENDER = `const kept = []
for (let left = Number(process.argv[1]); left > 0; left -= ${STEP_BYTES}) {
  const bytes = new Uint8Array(${STEP_BYTES})
  for (let at = 0; at < ${STEP_BYTES}; at += 4096) bytes[at] = 1
  kept.push(bytes.buffer)
}
for (const buffer of kept.splice(0, ${FIRST_STEPS})) buffer.transfer(0)
console.log('ready')
setInterval(() => kept.shift()?.transfer(0), ${STEP_INTERVAL_MS})`

const freeBytes = async (): Promise<number> => {
  const kibibytes = /^MemFree:\s+(\d+) kB$/m.exec(await readFile('/proc/meminfo', 'utf8'))?.[1]
  return Number(kibibytes ?? 0) * 1024
}

/** Writes to so many bytes of memory that nothing uses, fewer where fewer are free, and frees them over the next seconds; disposing ends it. */
export const lendMemory = async (wantedBytes: number, signal: AbortSignal): Promise<AsyncDisposable> => {
  const bytes = Math.min(wantedBytes, FREE_SHARE_MAX * (await freeBytes()))
  const processes = availableParallelism()
  const share = String(Math.floor(bytes / processes))
  const lenders = Array.from({ length: processes }, () => {
    const child = spawn(process.execPath, ['-e', LENDER, share], { stdio: ['ignore', 'pipe', 'inherit'] })
    return { child, ended: once(child, 'close') }
  })
  const end = async (): Promise<void> => {
    for (const { child } of lenders) child.kill('SIGKILL')
    await Promise.all(lenders.map(({ ended }) => ended))
  }
  try {
    await Promise.all(lenders.map(({ child, ended }) => Promise.race([once(child.stdout, 'data', { signal }), ended])))
  } catch (error) {
    await end()
    throw error
  }
  return { [Symbol.asyncDispose]: end }
}
