// An image that is there and is written in place: kept from everybody else, read by threads, and durable before it ends.
import { execFile } from 'node:child_process'
import { open, rename, stat } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import { VarveError } from '../../protocol/errors.ts'
import { syncFolder } from '../../protocol/host/durable.ts'
import { storedBitmaps } from '../drivers/offline/stored-bitmaps.ts'
import { runTool } from '../drivers/offline/tools.ts'
import { ImageServer, toolError } from '../restore/image-server.ts'
import { writeError } from '../restore/qcow2-target.ts'
import { openDevice } from '../restore/raw-target.ts'
import { incompleteName, type RestoreNotes } from '../restore/restore-notes.ts'
import { guardTarget, type KnownMachine } from '../restore/target-guard.ts'
import { targetError } from '../restore/target-error.ts'
import type { DiskWriter } from '../restore/target.ts'
import type { FoundImage } from './find-image.ts'

const run = promisify(execFile)

export interface ExistingOptions {
  readonly found: FoundImage
  /** Of the disk that is restored, in bytes. */
  readonly size: number
  /** Makes a file as large as the disk. */
  readonly resize: boolean
  /** Nothing is written at all. */
  readonly readOnly: boolean
  /** Of the image's own, whose map is wanted. */
  readonly bitmap: string | null
  readonly machines: readonly KnownMachine[]
}

const syncFile = async (name: string): Promise<void> => {
  await using file = await open(name, 'r')
  await file.sync()
}

const sizeDiffers = ({ final, kind }: FoundImage, has: number, size: number): VarveError =>
  new VarveError(
    'TARGET_INVALID',
    kind === 'device'
      ? `${final} has ${has} bytes, fewer than the disk's ${size}`
      : `${final} has ${has} bytes, and the disk ${size}: --force ${has < size ? 'makes it larger' : 'cuts it off'}`,
  )

/** TARGET_INVALID unless the image has the bitmap, and it has recorded every write since it was made. */
const checkBitmap = async ({ final, place }: FoundImage, name: string): Promise<void> => {
  const stored = await storedBitmaps(runTool, { name: final, path: place, format: 'qcow2', named: true })
  const health = stored.find((one) => one.name === name)?.health
  if (health === 'whole') return
  const names = stored.map((one) => one.name).join(', ') || 'none'
  const why =
    health === undefined
      ? `has no bitmap "${name}"; it has: ${names}`
      : `has the bitmap "${name}", which ${health === 'disabled' ? 'does not record' : 'was not stored when its machine ended'}`
  throw new VarveError(
    'TARGET_INVALID',
    `${final} ${why}: restore without --base, or without --bitmap if nothing wrote it`,
  )
}

/** Serves the image, and looks again for its users now that nobody else gets its lock. */
const serve = async (
  { found: { place, format }, readOnly, bitmap, machines }: ExistingOptions,
  resources: AsyncDisposableStack,
): Promise<ImageServer> => {
  // QEMU shows no bitmap of an image that is open for reading alone
  const how = { bitmap, readOnly: readOnly && bitmap === null }
  const server = resources.use(await ImageServer.start(place, format, how))
  resources.use(await guardTarget(place, machines, server.pid))
  return server
}

export class ExistingImage implements DiskWriter, AsyncDisposable {
  readonly found: FoundImage
  readonly #server: ImageServer
  readonly #resources: AsyncDisposable
  #notes: RestoreNotes | null = null

  private constructor(found: FoundImage, server: ImageServer, resources: AsyncDisposable) {
    this.found = found
    this.#server = server
    this.#resources = resources
  }

  /** TARGET_IN_USE names who uses it; TARGET_INVALID where its size does not fit; TOOL_MISSING. */
  static async open(options: ExistingOptions): Promise<ExistingImage> {
    const { found, size, resize, readOnly, machines } = options
    const { final, place, kind, format } = found
    await using resources = new AsyncDisposableStack()
    if (kind === 'device') {
      const device = await openDevice(place, machines)
      resources.defer(() => device.close())
    }
    // whoever has it open is named, where the server could only say that it is locked
    await (await guardTarget(place, machines))[Symbol.asyncDispose]()
    if (options.bitmap !== null) await checkBitmap(found, options.bitmap)
    await using first = new AsyncDisposableStack()
    const server = await serve(options, first)
    const has = server.client.size
    const fits = kind === 'device' ? has >= size : has === size
    if (fits || (readOnly && resize && kind === 'file')) {
      resources.use(first.move())
      return new ExistingImage(found, server, resources.move())
    }
    if (kind === 'device' || !resize) throw sizeDiffers(found, has, size)
    await first.disposeAsync()
    try {
      await run('qemu-img', ['resize', '-q', '-f', format, ...(has > size ? ['--shrink'] : []), place, String(size)])
    } catch (error) {
      throw toolError('qemu-img', error)
    }
    await syncFile(place)
    const second = resources.use(new AsyncDisposableStack())
    const resized = await serve(options, second)
    if (resized.client.size !== size) throw sizeDiffers({ ...found, final }, resized.client.size, size)
    return new ExistingImage(found, resized, resources.move())
  }

  /** Bytes that it has. */
  get size(): number {
    return this.#server.client.size
  }

  /** Where threads of this process find it. */
  get socketPath(): string {
    return this.#server.socketPath
  }

  /**
   * Called before the first write: a file gets another name until all is written, so that no machine starts on half of it. From
   * now on it is neither what it was nor what it is to be. TARGET_INVALID.
   */
  async begin(notes: RestoreNotes): Promise<void> {
    const { final, place, kind } = this.found
    const note = await notes.begin(final, null, { onto: true })
    try {
      if (kind === 'file' && place === final) {
        await rename(final, incompleteName(final))
        await syncFolder(path.dirname(final))
      }
    } catch (error) {
      await note[Symbol.asyncDispose]()
      throw targetError(`cannot rename ${final}`, error)
    }
    this.#notes = notes
  }

  async write(offset: number, bytes: Uint8Array): Promise<void> {
    try {
      await this.#server.client.write(offset, bytes)
    } catch (error) {
      throw writeError(this.found.final, error)
    }
  }

  async zero(offset: number, length: number): Promise<void> {
    try {
      await this.#server.client.writeZeroes(offset, length, { mayTrim: true })
    } catch (error) {
      throw writeError(this.found.final, error)
    }
  }

  /** After `begin`: makes everything durable that was written, and then gives the file its name. TARGET_INVALID. */
  async commit(): Promise<void> {
    const { final, kind } = this.found
    try {
      await this.#server.client.flush()
      await this.#server.close()
      const place = kind === 'device' ? final : incompleteName(final)
      await syncFile(place)
      if (kind === 'device') return await this.#notes?.completed(final)
      // its name was taken from it; what has it now was made meanwhile
      if ((await stat(final).catch(() => null)) !== null)
        throw new VarveError(
          'TARGET_EXISTS',
          `${final} was made anew by somebody meanwhile: ${place} is complete and durable`,
        )
      await rename(place, final)
      await syncFolder(path.dirname(final))
      await this.#notes?.completed(final)
    } catch (error) {
      throw targetError(`cannot complete ${final}`, writeError(final, error))
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources[Symbol.asyncDispose]()
  }
}
