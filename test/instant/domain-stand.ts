// A libvirt with a restore point of a domain that is gone, and the domains that run from that point.
import { chmod, chown, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import type { LibvirtDomain } from '../../agent/libvirt/types.ts'
import { makeImage } from '../support/image-chain.ts'
import { startLibvirt, type TestDomainDisk, type TestLibvirt } from '../support/libvirt.ts'
import { run } from '../support/run.ts'
import type { Host } from '../support/stand-host.ts'
import { Stand } from '../support/stand.ts'
import { eventually, tempFolder, type TempFolder } from '../support/temp.ts'

export const DOMAIN = 'db1'

interface Parts {
  readonly stand: Stand
  readonly host: Host
  readonly libvirt: TestLibvirt
  readonly temp: TempFolder
  readonly point: string
}

export class DomainStand implements AsyncDisposable {
  readonly stand: Stand
  readonly host: Host
  readonly libvirt: TestLibvirt
  readonly temp: TempFolder
  readonly point: string
  readonly #resources: AsyncDisposableStack

  private constructor({ stand, host, libvirt, temp, point }: Parts, resources: AsyncDisposableStack) {
    this.stand = stand
    this.host = host
    this.libvirt = libvirt
    this.temp = temp
    this.point = point
    this.#resources = resources
  }

  /** A point of a domain with these disks. */
  static async start(contents: ReadonlyMap<string, Buffer>): Promise<DomainStand> {
    await using resources = new AsyncDisposableStack()
    const stand = resources.use(await Stand.start())
    const temp = resources.use(await tempFolder())
    // QEMU is another user, who may enter both
    await chmod(stand.folder.path, 0o711)
    const libvirt = resources.use(await startLibvirt({ folder: temp.path }))
    const disks = [...contents].map(([target, { length: size }]): TestDomainDisk => {
      return { target, format: 'qcow2', file: temp.join(`${target}.qcow2`), size }
    })
    for (const { target, file } of disks) await makeImage({ file, format: 'qcow2' }, contents.get(target)!)
    const domain = await libvirt.startDomain({ name: DOMAIN, disks })
    const host = await stand.addHost()
    await host.start({
      tables: ['[[machine]]', `name = "${DOMAIN}"`, `domain = "${DOMAIN}"`, `uri = "${libvirt.uri}"`],
    })
    const { point } = await host.backup(DOMAIN)
    await domain.destroy()
    await domain.undefine()
    return new DomainStand({ stand, host, libvirt, temp, point }, resources.move())
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources.disposeAsync()
  }

  /** Makes one, and gives its images to the user of the daemon's QEMUs, as a system's libvirt does by itself. */
  async begin(name: string, ...flags: readonly string[]): Promise<string> {
    const { host, libvirt, point, temp } = this
    const to = temp.join(name)
    await host.done('instant', point, '--to', to, '--define', '--uri', libvirt.uri, ...flags)
    const { owner } = libvirt
    if (owner === null) return to
    for (const file of await readdir(to))
      if (file.endsWith('.qcow2')) await chown(path.join(to, file), owner.uid, owner.gid)
    return to
  }

  async runFrom(to: string): Promise<LibvirtDomain> {
    await this.host.done('instant', 'resume', to, '--start')
    return await this.libvirt.control.domainByName(DOMAIN)
  }

  /** Nothing of that name runs or is defined. */
  async gone(): Promise<void> {
    await eventually(async () => (await this.libvirt.control.listAllDomains()).every(({ name }) => name !== DOMAIN))
  }

  async isDefined(): Promise<boolean> {
    return (await this.libvirt.virsh('list', '--all', '--persistent', '--name')).split('\n').includes(DOMAIN)
  }

  /** As a crash of its QEMU does. */
  async kill(): Promise<void> {
    process.kill(Number(await readFile(path.join(this.libvirt.pidFolder, `${DOMAIN}.pid`), 'utf8')), 'SIGKILL')
    await eventually(async () => (await this.libvirt.control.listAllDomains({ active: true })).length === 0)
  }

  /**
   * Writes to its disk of this place as its guest does, and has it durable. A write to a part of a cluster reads the rest, which
   * fails while QEMU has no connection to the export; a guest is stopped then and its write made again, as it is here.
   */
  async write(domain: LibvirtDomain, place: number, offset: number, bytes: Buffer): Promise<void> {
    const file = this.temp.join('written')
    await writeFile(file, bytes, { mode: 0o644 })
    const command = `write -f -s ${file} ${offset} ${bytes.length}`
    await eventually(async () => (await this.libvirt.deviceIo(domain, place, command)) === null)
  }

  /** Throws unless the images need nothing else, and hold just this. */
  async checkAlone(to: string, contents: ReadonlyMap<string, Buffer>): Promise<void> {
    for (const [name, content] of contents) {
      const file = path.join(to, `${name}.qcow2`)
      const info = await run('qemu-img', ['info', file])
      if (info.includes('backing file')) throw new Error(`${file} does not stand alone`)
      await run('qemu-img', ['check', '-q', file])
      const raw = `${file}.raw`
      await run('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', file, raw])
      const found = await readFile(raw)
      await rm(raw)
      if (found.equals(content)) continue
      const at = found.findIndex((byte, index) => byte !== content[index])
      throw new Error(`disk ${name} is not what it was, from ${at}`)
    }
  }
}
