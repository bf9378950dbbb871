// Standard output as the target of a restore: the disk's bytes in order, zeroes included, and nothing else.
import { constants, fstatSync, openSync } from 'node:fs'
import { Socket } from 'node:net'
import type { Writable } from 'node:stream'
import { isatty } from 'node:tty'
import { VarveError } from '../../protocol/errors.ts'
import { hasCode } from '../../protocol/host/system-error.ts'
import type { Target } from './target.ts'

const STDOUT = 1

/** Zeroes written at once, in bytes. */
const ZERO_BYTES = 1024 * 1024

const closed = (cause: unknown): VarveError =>
  new VarveError('TARGET_INVALID', 'standard output was closed before the disk was written: its reader has ended', {
    cause,
  })

/** A pipe is opened anew, as Node writes to its own and lets everything wait for a slow reader. */
const openStream = (): Writable => {
  if (!fstatSync(STDOUT).isFIFO()) return process.stdout
  try {
    const fd = openSync(`/proc/self/fd/${STDOUT}`, constants.O_WRONLY | constants.O_NONBLOCK)
    return new Socket({ fd, readable: false, writable: true })
  } catch (error) {
    // no reader
    if (hasCode(error, 'ENXIO')) throw closed(error)
    return process.stdout
  }
}

export class StdoutTarget implements Target {
  readonly #stream: Writable
  /** Ends when all that was given before is written. */
  #last: Promise<void> = Promise.resolve()

  private constructor(stream: Writable) {
    this.#stream = stream
    // each write tells its own failure
    stream.on('error', () => {})
  }

  /** TARGET_INVALID where a person would get the bytes. */
  static open(): StdoutTarget {
    if (isatty(STDOUT))
      throw new VarveError('TARGET_INVALID', 'standard output is a terminal: lead it into a program or a file')
    return new StdoutTarget(openStream())
  }

  write(_offset: number, bytes: Uint8Array): Promise<void> {
    return this.#inTurn(() => this.#put(bytes))
  }

  zero(_offset: number, length: number): Promise<void> {
    return this.#inTurn(async () => {
      const zeroes = new Uint8Array(Math.min(ZERO_BYTES, length))
      for (let left = length; left > 0; left -= zeroes.length)
        await this.#put(zeroes.subarray(0, Math.min(zeroes.length, left)))
    })
  }

  async seal(): Promise<void> {}

  async check(): Promise<void> {}

  async publish(): Promise<readonly string[]> {
    return []
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#stream === process.stdout) return
    this.#stream.destroy()
  }

  /** The order of the calls is that of the bytes; after a failure nothing is written. */
  #inTurn(work: () => Promise<void>): Promise<void> {
    const turn = this.#last.then(work)
    turn.catch(() => {})
    this.#last = turn
    return turn
  }

  async #put(bytes: Uint8Array): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.#stream.write(bytes, (error) => {
      if (error === null || error === undefined) resolve()
      else if (hasCode(error, 'EPIPE', 'ECONNRESET', 'ERR_STREAM_DESTROYED')) reject(closed(error))
      else reject(new VarveError('TARGET_INVALID', `cannot write standard output: ${error.message}`, { cause: error }))
    })
    await promise
  }
}
