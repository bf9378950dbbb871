// Looks at what an image says is below it, before QEMU opens it: only plain files whose format is written down are followed.
//
// QEMU guesses the format of a backing file that the image does not name. A guest that once had that file as its raw disk can
// have written into it what looks like an image over any file of this host, which the backup would then hold.

import { constants } from 'node:fs'
import { open, realpath, stat } from 'node:fs/promises'
import path from 'node:path'
import { VarveError } from '../../../protocol/errors.ts'
import { mayRead, type Reader } from '../../attachments/reader.ts'
import type { DiskKey } from './keys.ts'

/** Most images of one chain. */
const CHAIN_MAX = 256

/** Bytes of a header with its extensions that are read; QEMU keeps them within one cluster, of 64 KiB by default. */
const HEADER_BYTES = 65_536

const MAGIC = 0x5146_49fb
const EXTENSION_FORMAT = 0xe279_2aca

/** Length of a header of version 2, and where version 3 says its own. */
const HEADER_BYTES_V2 = 72
const HEADER_LENGTH_AT = 100

/** Longest name of a backing file, in bytes. */
const BACKING_BYTES_MAX = 1023

export interface Qcow2Header {
  /** Bytes that a guest sees. */
  readonly size: number
  /** The backing file as the header names it; null for none. */
  readonly backing: string | null
  /** Its format as the header names it; null where it does not. */
  readonly backingFormat: string | null
}

const formatOf = (bytes: Buffer, from: number): string | null => {
  for (let at = from; at + 8 <= bytes.length;) {
    const type = bytes.readUInt32BE(at)
    const length = bytes.readUInt32BE(at + 4)
    if (type === 0 || at + 8 + length > bytes.length) return null
    if (type === EXTENSION_FORMAT) return bytes.toString('utf8', at + 8, at + 8 + length)
    at += 8 + Math.ceil(length / 8) * 8
  }
  return null
}

/** Reads the beginning of a qcow2 image; null for anything else. */
export const parseQcow2Header = (bytes: Buffer): Qcow2Header | null => {
  if (bytes.length < HEADER_BYTES_V2 || bytes.readUInt32BE(0) !== MAGIC) return null
  const version = bytes.readUInt32BE(4)
  if (version !== 2 && version !== 3) return null
  const backingAt = Number(bytes.readBigUInt64BE(8))
  const backingBytes = bytes.readUInt32BE(16)
  const size = Number(bytes.readBigUInt64BE(24))
  if (backingAt === 0) return { size, backing: null, backingFormat: null }
  if (backingBytes > BACKING_BYTES_MAX || backingAt + backingBytes > bytes.length) return null
  const extensionsAt =
    version === 2 || bytes.length < HEADER_LENGTH_AT + 4 ? HEADER_BYTES_V2 : bytes.readUInt32BE(HEADER_LENGTH_AT)
  const backing = bytes.toString('utf8', backingAt, backingAt + backingBytes)
  // extensions end before the name that follows them
  return { size, backing, backingFormat: formatOf(bytes.subarray(0, backingAt), extensionsAt) }
}

/** What opens without waiting for anybody: a pipe would keep whoever opens it, for as long as nobody writes. */
const isDisk = (found: { isFile(): boolean; isBlockDevice(): boolean }): boolean =>
  found.isFile() || found.isBlockDevice()

const notDisk = (file: string): VarveError =>
  new VarveError('DISK_UNSUPPORTED', `${file} is neither a file nor a block device`)

/** The header of an image; DISK_UNSUPPORTED where the file cannot be read, or is something else. */
export const readQcow2Header = async (file: string): Promise<Qcow2Header | null> => {
  const bytes = Buffer.alloc(HEADER_BYTES)
  try {
    const handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK)
    try {
      if (!isDisk(await handle.stat())) throw notDisk(file)
      const { bytesRead } = await handle.read(bytes, 0, HEADER_BYTES, 0)
      return parseQcow2Header(bytes.subarray(0, bytesRead))
    } finally {
      await handle.close()
    }
  } catch (cause) {
    if (cause instanceof VarveError) throw cause
    throw new VarveError('DISK_UNSUPPORTED', `${file} cannot be read: ${(cause as Error).message}`, { cause })
  }
}

const refusal = (disk: DiskKey, why: string): VarveError =>
  new VarveError('DISK_UNSUPPORTED', `disk ${disk.name} is not read while its machine is off: ${why}`, {
    details: { disk: disk.name },
  })

/** A name with a protocol, such as `nbd://` or `json:`. */
const PROTOCOL = /^[a-z0-9+.-]+:/iu

/** Refuses an image that would be stored as the raw disk that it is not: nobody says so, and a guest can write its beginning. */
const refuseGuess = async (disk: DiskKey, file: string): Promise<void> => {
  if (disk.named || disk.format !== 'raw' || (await readQcow2Header(file)) === null) return
  throw refusal(
    disk,
    `${file} begins like a qcow2 image, and no format is given: say format = "qcow2", or format = "raw" for a raw disk whose guest wrote such a beginning`,
  )
}

/** DISK_UNSUPPORTED: whoever named the disk may not read this file of it. */
export const notReadable = (disk: DiskKey, { uid }: Reader, file: string): VarveError =>
  refusal(
    disk,
    `user ${uid}, whose libvirt names it, may not read ${file}: let that user read it, name the disks in the "disks" of a [[machine]] of this agent, or run an agent as that user`,
  )

const refuseUnreadable = async (disk: DiskKey, file: string): Promise<void> => {
  const { reader = null } = disk
  if (reader === null) return
  if (!(await mayRead(reader, await realpath(file)).catch(() => false))) throw notReadable(disk, reader, file)
}

/**
 * DISK_UNSUPPORTED unless it is a file or block device, of the format that its key says or its name allows, and one that who
 * names it may read.
 */
export const checkDisk = async (disk: DiskKey, file: string = disk.path): Promise<void> => {
  const found = await stat(file).catch(() => null)
  await refuseUnreadable(disk, file)
  if (found !== null && !isDisk(found)) throw notDisk(file)
  if (found !== null) await refuseGuess(disk, file)
}

/** DISK_UNSUPPORTED unless all images below the disk are plain files, of a format that the image above names. */
export const checkChain = async (disk: DiskKey, readPath: string = disk.path): Promise<void> => {
  await checkDisk(disk, readPath)
  let file = readPath
  let format: string = disk.format
  for (let depth = 0; format === 'qcow2'; depth++) {
    if (depth === CHAIN_MAX) throw refusal(disk, `it has more than ${CHAIN_MAX} images below one another`)
    const header = await readQcow2Header(file)
    if (header === null)
      throw refusal(disk, `${file} is no qcow2 image: its "format" in the configuration, or its name, says that it is`)
    const { backing, backingFormat } = header
    if (backing === null) return
    if (PROTOCOL.test(backing)) throw refusal(disk, `${file} lies on "${backing}", which is no plain file`)
    if (backingFormat === null)
      throw refusal(
        disk,
        `${file} does not say which format its backing file has, and a guess could follow what a guest wrote: say it with qemu-img rebase -u -b ${backing} -F FORMAT ${file}`,
      )
    if (backingFormat !== 'raw' && backingFormat !== 'qcow2')
      throw refusal(disk, `${file} lies on an image of the format "${backingFormat}"; raw and qcow2 are read`)
    file = path.resolve(path.dirname(file), backing)
    format = backingFormat
    await checkDisk({ ...disk, named: true }, file)
  }
}
