// What a machine of the mixed histories runs under: a QEMU of its own on one of two hosts, or libvirt.
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { startLibvirt, type TestDomain, type TestLibvirt } from '../../support/libvirt.ts'
import { humanCommand } from '../../support/libvirt-calls.ts'
import { TestMachine, type TestDisk } from '../../support/qemu.ts'
import { eventually } from '../../support/temp.ts'

/** Name of the machine, also as a domain. */
export const MACHINE = 'db1'

/** Longest live migration of a machine that does nothing, in milliseconds. */
const MIGRATION_LIMIT_MS = 60_000

/** Runs the machine on the disks that it is given. */
export interface Carrier extends AsyncDisposable {
  start(): Promise<void>
  /** Ends it, cleanly or as a crash does; what the guest wrote is in the images in both cases. */
  stop(crash: boolean): Promise<void>
  /** A `qemu-io` command of the guest's device. */
  io(disk: string, command: string): Promise<void>
}

export class QmpCarrier implements Carrier {
  readonly qmpPath: string
  readonly #machine: TestMachine
  readonly #disks: readonly TestDisk[]
  readonly #uuid: string
  readonly #folder: string

  private constructor(folder: string, disks: readonly TestDisk[], uuid: string) {
    this.#folder = folder
    this.#disks = disks
    this.#uuid = uuid
    this.#machine = new TestMachine({ folder, disks, extra: ['-uuid', uuid] })
    this.qmpPath = this.#machine.qmpPath
  }

  static async make(folder: string, disks: readonly TestDisk[], uuid: string): Promise<QmpCarrier> {
    await mkdir(folder, { recursive: true })
    return new QmpCarrier(folder, disks, uuid)
  }

  async start(): Promise<void> {
    await this.#machine.start({ extra: ['-uuid', this.#uuid] })
  }

  async stop(crash: boolean): Promise<void> {
    if (!crash) return await this.#machine.quit()
    for (const { id } of this.#disks) await this.io(id, 'flush')
    await this.#machine.kill9()
  }

  async io(disk: string, command: string): Promise<void> {
    if (command !== 'flush') return await this.#machine.guestIo(disk, command)
    const line = `qemu-io -d /machine/peripheral/${disk}/virtio-backend flush`
    await this.#machine.control.execute('human-monitor-command', { 'command-line': line })
  }

  /** Moves the running machine to another host over a socket, with its bitmaps where asked; the source ends. */
  async migrateTo(other: QmpCarrier, withBitmaps: boolean): Promise<void> {
    const uri = `unix:${join(other.#folder, 'migration.sock')}`
    await other.#machine.start({ extra: ['-uuid', this.#uuid, '-incoming', 'defer'] })
    const source = this.#machine.control
    const target = other.#machine.control
    const capabilities = [{ capability: 'dirty-bitmaps', state: withBitmaps }]
    for (const one of [source, target]) await one.execute('migrate-set-capabilities', { capabilities })
    await target.execute('migrate-incoming', { uri })
    await source.execute('migrate', { uri })
    await eventually(async () => {
      const { status } = (await source.execute('query-migrate')) as { status?: string }
      if (status === 'failed' || status === 'cancelled') throw new Error(`the migration ${status}`)
      return status === 'completed'
    }, MIGRATION_LIMIT_MS)
    await this.#machine.quit()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#machine[Symbol.asyncDispose]()
  }
}

/** A domain of a libvirtd of its own, in which the machine has the name MACHINE. */
export class LibvirtCarrier implements Carrier {
  readonly #libvirt: TestLibvirt
  readonly #domain: TestDomain

  private constructor(libvirt: TestLibvirt, domain: TestDomain) {
    this.#libvirt = libvirt
    this.#domain = domain
  }

  static async make(folder: string, disks: readonly TestDisk[], uuid: string): Promise<LibvirtCarrier> {
    await mkdir(folder, { recursive: true })
    const libvirt = await startLibvirt({ folder })
    try {
      const targets = disks.map(({ id: target, format, file, size }) => ({ target, format, file, size }))
      return new LibvirtCarrier(libvirt, await libvirt.define({ name: MACHINE, uuid, disks: targets }))
    } catch (error) {
      await libvirt[Symbol.asyncDispose]()
      throw error
    }
  }

  get uri(): string {
    return this.#libvirt.uri
  }

  async start(): Promise<void> {
    await this.#domain.start()
  }

  async stop(crash: boolean): Promise<void> {
    if (!crash) return await this.#domain.destroy()
    for (const { target } of this.#domain.options.disks) await this.io(target, 'flush')
    await this.#domain.kill9()
  }

  async io(disk: string, command: string): Promise<void> {
    if (command !== 'flush') return await this.#domain.guestIo(disk, command)
    const place = this.#domain.options.disks.findIndex(({ target }) => target === disk)
    const line = `qemu-io -d /machine/peripheral/virtio-disk${place}/virtio-backend flush`
    await humanCommand(this.#libvirt.control, this.#domain.domain, line)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#libvirt[Symbol.asyncDispose]()
  }
}
