// Reads one small file of the host as it is at one moment, or says in a sentence why it cannot be had.
import { constants, type BigIntStats } from 'node:fs'
import { open, readlink, type FileHandle } from 'node:fs/promises'
import { sizeText } from '../../protocol/host/size.ts'
import { ATTACHMENT_BYTES_MAX } from '../../protocol/limits.ts'
import { NoAnswer } from './file-turns.ts'
import { mayRead, notTheirs, type Reader } from './reader.ts'

/** Reads of a file that changes meanwhile, before it counts as one that cannot be had. */
const TRIES_MAX = 3

/** What was read, or why it was not, as a sentence without a subject. */
export type Found = { readonly bytes: Buffer } | { readonly missing: string }

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file',
  ENOTDIR: 'there is no such file',
  EACCES: 'the agent may not read it',
  EPERM: 'the agent may not read it',
  ELOOP: 'its path is a loop of symbolic links',
  EISDIR: 'it is a folder',
  ENXIO: 'it is neither a file nor a folder',
}

/** Why something could not be read, in words for people. */
export const whyNot = (error: unknown): string => {
  if (error instanceof NoAnswer) return error.message
  const { code = 'an unknown error' } = error as NodeJS.ErrnoException
  return REASONS[code] ?? `it cannot be read (${code})`
}

const tooLarge = (bytes: number | bigint): string =>
  `it has ${sizeText(Number(bytes))}, at most ${sizeText(ATTACHMENT_BYTES_MAX)} can be attached`

const sameFile = (a: BigIntStats, b: BigIntStats): boolean =>
  a.size === b.size && a.mtimeNs === b.mtimeNs && a.ctimeNs === b.ctimeNs

/** Up to one byte more than an attachment may have. */
const readAll = async (file: FileHandle): Promise<Buffer> => {
  const parts: Buffer[] = []
  for (let at = 0; at <= ATTACHMENT_BYTES_MAX;) {
    const part = Buffer.allocUnsafe(Math.min(1024 * 1024, ATTACHMENT_BYTES_MAX + 1 - at))
    const { bytesRead } = await file.read(part, 0, part.length, at)
    if (bytesRead === 0) break
    parts.push(part.subarray(0, bytesRead))
    at += bytesRead
  }
  return Buffer.concat(parts)
}

const readOpen = async (file: FileHandle): Promise<Found> => {
  for (let tries = 0; tries < TRIES_MAX; tries++) {
    const before = await file.stat({ bigint: true })
    if (!before.isFile()) return { missing: 'it is neither a file nor a folder' }
    if (before.size > ATTACHMENT_BYTES_MAX) return { missing: tooLarge(before.size) }
    const bytes = await readAll(file)
    if (bytes.length > ATTACHMENT_BYTES_MAX) return { missing: tooLarge(bytes.length) }
    // files that the kernel makes up as they are read say that they are empty
    const whole = before.size === 0n || bytes.length === Number(before.size)
    if (whole && sameFile(before, await file.stat({ bigint: true }))) return { bytes }
  }
  return { missing: `it changed each time that it was read (${TRIES_MAX} times)` }
}

/** Where an open file lies now, whatever its path says. */
const placeOf = (file: FileHandle): Promise<string> => readlink(`/proc/self/fd/${file.fd}`)

/** Which files are read at a path. */
export interface Bounds {
  /** A folder without links in its path, in which the file must lie once it is open, whoever swaps parts of its path. */
  readonly inside: string | null
  /** Who named it, and must be allowed to read what is opened; null for the agent itself. */
  readonly reader: Reader | null
}

/** The content of a file. Rejects with nothing. */
export const readSmall = async (path: string, { inside, reader }: Bounds): Promise<Found> => {
  try {
    // a pipe without a writer must not block, and a terminal not become this process's own
    await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY)
    const place = await placeOf(file)
    if (inside !== null && !place.startsWith(inside === '/' ? '/' : `${inside}/`))
      return { missing: `it leads out of the folder ${inside}` }
    if (reader !== null && !(await mayRead(reader, place))) return { missing: notTheirs(reader) }
    return await readOpen(file)
  } catch (error) {
    return { missing: whyNot(error) }
  }
}
