// An image that is there and is written in place: kept from everybody else, read by threads, and durable before it ends.
import { execFile } from 'node:child_process'
import { open, rename, stat } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import * as v from 'valibot'
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

const imageInfo = v.object({
  'format-specific': v.optional(v.object({ data: v.optional(v.object({ 'data-file': v.optional(v.string()) })) })),
})

/** TARGET_INVALID for an image whose content lies in another file: that one's users, and what it is, nobody has looked at. */
const checkOwn = async ({ final, place, format }: FoundImage): Promise<void> => {
  if (format !== 'qcow2') return
  const printed = await run('qemu-img', ['info', '--output=json', '-f', 'qcow2', place]).catch((error: unknown) => {
    throw toolError('qemu-img', error)
  })
  const said = v.safeParse(v.pipe(v.string(), v.parseJson(), imageInfo), printed.stdout)
  if (!said.success) throw new VarveError('TARGET_INVALID', `what qemu-img says of ${final} is not understood`)
  const dataFile = said.output['format-specific']?.data?.['data-file']
  if (dataFile !== undefined)
    throw new VarveError(
      'TARGET_INVALID',
      `${final} has its content in another file, ${dataFile.slice(0, 200)}: restore to a new image with --to`,
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
  readonly #options: ExistingOptions
  #server: ImageServer
  /** What ends with the server. */
  #served: AsyncDisposableStack
  readonly #resources: AsyncDisposable
  #notes: RestoreNotes | null = null

  private constructor(
    options: ExistingOptions,
    server: ImageServer,
    { served, resources }: { served: AsyncDisposableStack; resources: AsyncDisposable },
  ) {
    this.found = options.found
    this.#options = options
    this.#server = server
    this.#served = served
    this.#resources = resources
  }

  /** TARGET_IN_USE names who uses it; TARGET_INVALID where its size does not fit; TOOL_MISSING. */
  static async open(options: ExistingOptions): Promise<ExistingImage> {
    const { found, size, resize, readOnly, machines } = options
    const { place, kind } = found
    await using resources = new AsyncDisposableStack()
    if (kind === 'device') {
      const device = await openDevice(place, machines)
      resources.defer(() => device.close())
    }
    // whoever has it open is named, where the server could only say that it is locked
    await (await guardTarget(place, machines))[Symbol.asyncDispose]()
    await checkOwn(found)
    if (options.bitmap !== null) await checkBitmap(found, options.bitmap)
    await using served = new AsyncDisposableStack()
    const server = await serve(options, served)
    const has = server.client.size
    const fits = kind === 'device' ? has >= size : has === size || resize
    if (!fits) throw sizeDiffers(found, has, size)
    const image = new ExistingImage(options, server, { served: served.move(), resources: resources.move() })
    // one that is too long is cut off once it is known that the rest can be had
    if (kind === 'device' || readOnly || has >= size) return image
    try {
      await image.#resize()
      return image
    } catch (error) {
      await image[Symbol.asyncDispose]()
      throw error
    }
  }

  /** Bytes that it has. */
  get size(): number {
    return this.#server.client.size
  }

  /** It is a file that is longer than the disk. */
  get isTooLong(): boolean {
    return this.found.kind === 'file' && this.size > this.#options.size
  }

  /** Where threads of this process find it. */
  get socketPath(): string {
    return this.#server.socketPath
  }

  /**
   * Called before the first write: a file that is too long is cut off, and it gets another name until all is written, so that no
   * machine starts on half of it. From now on it is neither what it was nor what it is to be. TARGET_INVALID.
   */
  async begin(notes: RestoreNotes): Promise<void> {
    const { final, place, kind } = this.found
    const note = await notes.begin(final, null, { onto: true })
    try {
      if (this.isTooLong) await this.#resize()
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
    await using _resources = this.#resources
    await this.#served.disposeAsync()
  }

  /** Makes it as long as the disk, between two servers of it. */
  async #resize(): Promise<void> {
    const { found, size } = this.#options
    const { place, format } = found
    const how = this.size > size ? ['--shrink'] : []
    await this.#served.disposeAsync()
    try {
      await run('qemu-img', ['resize', '-q', '-f', format, ...how, place, String(size)])
    } catch (error) {
      throw toolError('qemu-img', error)
    }
    await syncFile(place)
    this.#served = new AsyncDisposableStack()
    this.#server = await serve(this.#options, this.#served)
    if (this.size !== size) throw sizeDiffers(found, this.size, size)
  }
}
