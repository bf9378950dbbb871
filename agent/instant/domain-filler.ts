// Brings the disks of a domain of libvirt in, with libvirt's own block jobs, and counts a disk as alone only by its image.
//
// libvirt has QEMU take the backing file out of the image's header as soon as all is copied, while the tables of what was copied may
// be in QEMU's memory alone. So such a disk is still served and not alone until the tables are seen in the file; the guest's own
// flushes bring them there, or a stop of its processors for a moment. A QEMU that is killed before leaves an image without some of
// the copies, which a start mends (`overlay.ts`), and nobody but Varve can start it, as the domain is gone with its QEMU.
import { existsSync } from 'node:fs'
import { rm, writeFile } from 'node:fs/promises'
import { asVarveError } from '../../protocol/errors.ts'
import { LIBVIRT_CODES } from '../libvirt/codes.ts'
import { LibvirtConnection } from '../libvirt/connection.ts'
import { isLibvirtError } from '../libvirt/errors.ts'
import type { LibvirtDomain } from '../libvirt/types.ts'
import { runningDomain } from './domain.ts'
import { Filler, type FillerOptions } from './filler.ts'
import type { DiskFiller, FilledDisk, MachineState } from './filling.ts'
import { hasBacking } from './image-map.ts'
import type { InstantDomain } from './record.ts'

/** How long a job or guest that met an error is left before it is let go on, in milliseconds. */
const RETRY_MS = 2_000

/** How long the guest's own flushes are waited for, in milliseconds. */
const FLUSH_MS = 5_000

export interface DomainFillerOptions extends FillerOptions {
  readonly domain: InstantDomain
  /** A file that is there while this has stopped the guest: whoever finds it lets the guest go on. */
  readonly mark: string
}

export class DomainFiller implements DiskFiller {
  hasRun = false
  readonly #options: DomainFillerOptions
  /** A QEMU without a guest may take the place of a domain that is off. */
  readonly #standIn: Filler
  #state: MachineState = 'off'
  #libvirt: LibvirtConnection | null = null
  #speed: number
  #contMs = 0
  /** The speed of each job that runs, as far as it was set here. */
  readonly #speeds = new Map<FilledDisk, number>()
  /** Disks that QEMU has cut loose, and when they are helped to be complete in their files. */
  readonly #loose = new Map<FilledDisk, number>()

  constructor(options: DomainFillerOptions) {
    this.#options = options
    this.#speed = options.speed
    this.#standIn = new Filler(options)
  }

  get state(): MachineState {
    return this.#state === 'off' ? this.#standIn.state : this.#state
  }

  hurry(): void {
    this.#speed = 0
    this.#standIn.hurry()
  }

  async tick(): Promise<void> {
    const domain = await this.#running()
    if (domain === null) return await this.#standIn.tick()
    const libvirt = this.#libvirt!
    try {
      if (existsSync(this.#options.mark)) await this.#letGoOn(libvirt, domain)
      await this.#lookAtGuest(libvirt, domain)
      for (const disk of this.#options.disks) if (!disk.alone) await this.#fill(libvirt, domain, disk)
    } catch (thrown) {
      // a domain that has ended meanwhile is seen at the next look
      if (!isLibvirtError(thrown)) this.#close()
      throw thrown
    }
  }

  [Symbol.dispose](): void {
    this.#close()
    this.#standIn[Symbol.dispose]()
  }

  #close(): void {
    this.#libvirt?.close()
    this.#libvirt = null
  }

  async #running(): Promise<LibvirtDomain | null> {
    try {
      this.#libvirt ??= await LibvirtConnection.open({ uri: this.#options.domain.uri })
      const domain = await runningDomain(this.#libvirt, this.#options.domain)
      if (domain === null && this.#state !== 'off') this.#leave()
      return domain
    } catch (thrown) {
      this.#close()
      throw asVarveError(thrown)
    }
  }

  #leave(): void {
    this.#state = 'off'
    this.#speeds.clear()
    this.#loose.clear()
    for (const disk of this.#options.disks) disk.left()
  }

  async #fill(libvirt: LibvirtConnection, domain: LibvirtDomain, disk: FilledDisk): Promise<void> {
    const { name, file } = disk.of
    const job = await libvirt.blockJobInfo(domain, name)
    if (job !== null) {
      disk.doneBytes = Math.min(disk.of.size, Number(job.current))
      disk.stuck = null
      if (this.#speeds.get(disk) === this.#speed) return
      await libvirt.blockJobSpeed(domain, name, this.#speed)
      this.#speeds.set(disk, this.#speed)
      return
    }
    if (!(await hasBacking(file))) return await this.#settle(libvirt, domain, disk)
    if (this.#speeds.delete(disk)) disk.stuck = 'libvirt gave up: what is missing could not be read or written'
    if (performance.now() < disk.retryMs || !this.#options.canServe()) return
    disk.retryMs = performance.now() + RETRY_MS
    await libvirt.blockPull(domain, name, this.#speed)
    this.#speeds.set(disk, this.#speed)
  }

  /** QEMU has cut it loose: it is alone once all of it is in its file. */
  async #settle(libvirt: LibvirtConnection, domain: LibvirtDomain, disk: FilledDisk): Promise<void> {
    disk.doneBytes = disk.of.size
    const missingBytes = await disk.stand()
    if (missingBytes === 0) return
    disk.stuck = `${missingBytes} bytes that QEMU has copied are not in the file yet`
    const helpMs = this.#loose.get(disk) ?? performance.now() + FLUSH_MS
    this.#loose.set(disk, helpMs)
    if (performance.now() < helpMs) return
    this.#loose.set(disk, performance.now() + FLUSH_MS)
    // one that somebody has stopped is not let go on: it writes them out when it is
    if ((await libvirt.domainState(domain)).state !== 'running') return
    await writeFile(this.#options.mark, '')
    await libvirt.suspend(domain)
    await this.#letGoOn(libvirt, domain)
  }

  async #letGoOn(libvirt: LibvirtConnection, domain: LibvirtDomain): Promise<void> {
    await libvirt.resume(domain).catch((thrown: unknown) => {
      // it runs already
      if (!isLibvirtError(thrown, LIBVIRT_CODES.operationInvalid)) throw thrown
    })
    await rm(this.#options.mark, { force: true })
  }

  /** Counts what the guest writes, and lets one go on that QEMU has stopped since a read failed. */
  async #lookAtGuest(libvirt: LibvirtConnection, domain: LibvirtDomain): Promise<void> {
    for (const disk of this.#options.disks)
      disk.writtenNow = await libvirt.writtenBytes(domain, disk.of.name).catch((thrown: unknown) => {
        if (isLibvirtError(thrown)) return disk.writtenNow
        throw thrown
      })
    const { state, reason } = await libvirt.domainState(domain)
    this.hasRun = true
    const failed = state === 'paused' && reason === 'io-error'
    this.#state = state === 'running' || state === 'blocked' ? 'running' : failed ? 'io-error' : 'stopped'
    if (!failed || !this.#options.canServe() || performance.now() < this.#contMs) return
    const errors = await libvirt.diskErrors(domain)
    if (errors.some(({ error }) => error === 'no-space')) return
    this.#contMs = performance.now() + RETRY_MS
    await libvirt.resume(domain)
  }
}
