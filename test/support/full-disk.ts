// Fills a file system to its last byte, as somebody else's file does.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, existsSync, openSync, rmSync, statfsSync, writeSync } from 'node:fs'
import path from 'node:path'

/** First more than is there at once, at last one byte. */
const PIECES = [1024 * 1024, 64 * 1024, 4096, 1]

const isFull = (error: unknown): boolean => (error as NodeJS.ErrnoException).code === 'ENOSPC'

/** Free bytes of the file system that a folder lies on. */
export const freeBytes = (folder: string): number => {
  const { bavail, bsize } = statfsSync(folder)
  return bavail * bsize
}

/** A file beside the data folder that takes what is free; disposing of it gives everything back. */
export class Filler implements Disposable {
  readonly file: string

  constructor(folder: string) {
    this.file = path.join(folder, 'somebody-elses.bin')
  }

  /** Takes everything but `leaveBytes`; again, to take what became free since. */
  fill(leaveBytes = 0): void {
    const fd = openSync(this.file, 'a')
    try {
      for (const piece of PIECES) this.#write(fd, piece, leaveBytes)
    } finally {
      closeSync(fd)
    }
  }

  #write(fd: number, piece: number, leaveBytes: number): void {
    const bytes = new Uint8Array(piece).fill(0x5a)
    try {
      while (freeBytes(path.dirname(this.file)) >= leaveBytes + (leaveBytes > 0 ? piece : 0)) writeSync(fd, bytes)
    } catch (error) {
      if (!isFull(error)) throw error
    }
  }

  [Symbol.dispose](): void {
    if (existsSync(this.file)) rmSync(this.file)
  }
}

/** A process that takes whatever becomes free, until it is disposed of; its file stays for a Filler of the same folder. */
export const thief = (folder: string): AsyncDisposable => {
  const child = spawn(process.execPath, [path.join(import.meta.dirname, 'full-disk-thief.ts'), folder], {
    stdio: ['ignore', 'inherit', 'inherit'],
  })
  const ended = once(child, 'close')
  return {
    [Symbol.asyncDispose]: async () => {
      child.kill('SIGKILL')
      await ended
    },
  }
}
