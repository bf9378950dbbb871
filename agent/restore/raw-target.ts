// Raw targets: a sparse file that gets its name at the end, or a block device written in place.
import { constants } from 'node:fs'
import { open, type FileHandle } from 'node:fs/promises'
import { VarveError } from '../../protocol/errors.ts'
import { sizeText } from '../../protocol/host/size.ts'
import { hasCode } from '../../protocol/host/system-error.ts'
import { FileTarget, type FileContent } from './file-target.ts'
import { FlushedFile } from './flushed-file.ts'
import { ImageServer } from './image-server.ts'
import type { Naming } from './new-file.ts'
import type { RestoreNotes } from './restore-notes.ts'
import { checkUnused, deviceBusy, guardTarget, type KnownMachine } from './target-guard.ts'
import type { Target } from './target.ts'
import { targetError } from './target-error.ts'
import { Trimming } from './trimming.ts'

/** Zeroes written at once to a block device, in bytes. */
const ZERO_BYTES = 1024 * 1024

/** The content of a sparse file of this many bytes. */
class RawFile extends FlushedFile implements FileContent {
  readonly #file: FileHandle
  readonly #place: string
  readonly #size: number

  /** The file at `place`; errors name it by `name`. */
  constructor(file: FileHandle, { place, name, size }: { place: string; name: string; size: number }) {
    super(file, name)
    this.#file = file
    this.#place = place
    this.#size = size
  }

  /** By a program, which tells its holes too. */
  serve(): Promise<ImageServer> {
    return ImageServer.start(this.#place, 'raw', { readOnly: true })
  }

  /** Gives it its size. */
  async grow(): Promise<void> {
    await this.#file.truncate(this.#size)
  }

  async cut(offset: number): Promise<void> {
    await this.#file.truncate(offset)
    await this.grow()
  }
}

/** A new sparse file, or one to go on with; TARGET_INVALID, TARGET_IN_USE. */
export const makeRawFile = (final: string, size: number, naming: Naming): Promise<FileTarget> =>
  FileTarget.make(final, naming, async (temporary) => {
    const handle = await open(temporary, constants.O_RDWR | constants.O_NOFOLLOW)
    const file = new RawFile(handle, { place: temporary, name: final, size })
    try {
      // another restore may have opened it since it was looked at
      const { resume = false, machines = [] } = naming
      if (resume) await checkUnused(temporary, machines, new AbortController().signal)
      await file.grow()
      return file
    } catch (error) {
      await file[Symbol.asyncDispose]()
      if (!hasCode(error, 'EFBIG')) throw error
      throw new VarveError(
        'TARGET_INVALID',
        `cannot write ${final}: its file system, or a limit of this user (ulimit -f), does not allow a raw file of ${sizeText(size)} (EFBIG): use --format qcow2, whose file holds only what is in use, or another file system, such as XFS`,
        { cause: error },
      )
    }
  })

export class BlockDeviceTarget implements Target {
  readonly #content: FlushedFile
  readonly #trimming: Trimming
  readonly #restOffset: number
  readonly #endOf: () => Promise<number>
  readonly #complete: () => Promise<void>
  readonly #resources: AsyncDisposable

  private constructor(parts: {
    content: FlushedFile
    trimming: Trimming
    size: number
    endOf: () => Promise<number>
    complete: () => Promise<void>
    resources: AsyncDisposable
  }) {
    this.#content = parts.content
    this.#trimming = parts.trimming
    this.#restOffset = parts.size
    this.#endOf = parts.endOf
    this.#complete = parts.complete
    this.#resources = parts.resources
  }

  /**
   * Opens a device that nothing else has open, mounted or locked, and keeps it exclusively; TARGET_IN_USE names the user,
   * TARGET_INVALID when it is too small or cannot be opened.
   */
  static async open(
    device: string,
    size: number,
    {
      machines = [],
      notes,
      rdev,
    }: {
      readonly machines?: readonly KnownMachine[]
      readonly notes?: RestoreNotes
      /** The device that it has to be, as stat numbers it. */
      readonly rdev?: number | undefined
    } = {},
  ): Promise<BlockDeviceTarget> {
    await using resources = new AsyncDisposableStack()
    const file = await openDevice(device, machines)
    const content = resources.use(new FlushedFile(file, device))
    if (rdev !== undefined && (await file.stat()).rdev !== rdev)
      throw new VarveError('RESTORE_FORBIDDEN', `${device} is not the device that it was when the restore began`)
    await checkSize(file, device, size)
    // a running QEMU does not claim a device in the kernel
    resources.use(await guardTarget(device, machines))
    if (notes !== undefined) resources.use(await notes.begin(device, null))
    const endOf = (): Promise<number> => deviceBytes(file)
    return new BlockDeviceTarget({
      content,
      trimming: new Trimming(device),
      size,
      endOf,
      complete: async () => await notes?.completed(device),
      resources: resources.move(),
    })
  }

  write(offset: number, bytes: Uint8Array): Promise<void> {
    return this.#content.write(offset, bytes)
  }

  async zero(offset: number, length: number): Promise<void> {
    if (await this.#trimming.zero(offset, length)) return
    const zeroes = new Uint8Array(Math.min(ZERO_BYTES, length))
    for (let at = 0; at < length; at += zeroes.length)
      await this.write(offset + at, zeroes.subarray(0, Math.min(zeroes.length, length - at)))
  }

  /** Zeroes what is behind the disk. */
  async zeroRest(): Promise<void> {
    const end = await this.#endOf()
    if (end > this.#restOffset) await this.zero(this.#restOffset, end - this.#restOffset)
  }

  seal(): Promise<void> {
    return this.#content.seal()
  }

  /** It is held exclusively until the end. */
  async check(): Promise<void> {}

  async publish(): Promise<readonly string[]> {
    await this.#complete()
    return []
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#content.flushed()
    await this.#resources[Symbol.asyncDispose]()
  }
}

/** A device opened exclusively; TARGET_IN_USE names what holds it, TARGET_INVALID. */
export const openDevice = async (device: string, machines: readonly KnownMachine[]): Promise<FileHandle> => {
  try {
    // on a block device O_EXCL means: fail while it is mounted or otherwise held
    return await open(device, 0o2 | 0o200)
  } catch (error) {
    if (hasCode(error, 'EBUSY')) throw await deviceBusy(device, machines)
    throw targetError(`cannot write ${device}`, error)
  }
}

/** Bytes of a device, whose inode has no size: by looking for its last one. */
const deviceBytes = async (file: FileHandle): Promise<number> => {
  const byte = new Uint8Array(1)
  const has = async (offset: number): Promise<boolean> => (await file.read(byte, 0, 1, offset)).bytesRead > 0
  if (!(await has(0))) return 0
  let [there, behind] = [0, 1]
  while (await has(behind)) [there, behind] = [behind, behind * 2]
  while (behind - there > 1) {
    const middle = Math.floor((there + behind) / 2)
    if (await has(middle)) there = middle
    else behind = middle
  }
  return behind
}

/** A device's inode has no size, so its last byte is read. */
const checkSize = async (file: FileHandle, device: string, size: number): Promise<void> => {
  if (size === 0) return
  const { bytesRead } = await file.read(new Uint8Array(1), 0, 1, size - 1)
  if (bytesRead === 0) throw new VarveError('TARGET_INVALID', `${device} is smaller than the disk's ${size} bytes`)
}
