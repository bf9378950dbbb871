// A real QEMU beside a model of what its disks hold: every guest write goes to both.
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { listNodes } from '../../agent/qmp/disks.ts'
import { contentOf, makeImage, type Image, type OffDisk } from './image-chain.ts'
import type { Dice } from './model-dice.ts'
import { TestMachine, type TestDisk, type TestMachineOptions } from './qemu.ts'

export const KIB = 1024
export const MIB = 1024 * 1024

/** Size of a cluster of the test's qcow2 images, in bytes; what is discarded in whole clusters reads as zeroes. */
export const CLUSTER_BYTES = 64 * KIB

export interface ModelDisk {
  readonly id: string
  readonly format: 'qcow2' | 'raw'
  readonly size: number
  readonly iothread?: boolean
  /** What the disk holds when the machine first sees it; zeroes if nothing is said. */
  readonly content?: Buffer
}

/** Content of each disk by its name. */
export type Snapshot = ReadonlyMap<string, Buffer>

/** Everything of QEMU's block layer by which one could see that a backup was there. */
export interface BlockObjects {
  readonly exports: readonly string[]
  readonly jobs: readonly string[]
  readonly nodes: readonly string[]
  /** As `node/name`. */
  readonly bitmaps: readonly string[]
  readonly nbdServer: boolean
}

export class ModelMachine implements AsyncDisposable {
  readonly name: string
  readonly folder: string
  readonly qemu: TestMachine
  readonly #model = new Map<string, Buffer>()
  /** The image of each disk and what lies under it, the nearest first. */
  readonly #chains = new Map<string, OffDisk['chain']>()
  /** Names of the disks' own nodes, where a snapshot has put another one above the first. */
  readonly #tops = new Map<string, string>()
  #disks: readonly ModelDisk[]
  #filesMade = 0

  private constructor(name: string, folder: string, disks: readonly ModelDisk[], options: Partial<TestMachineOptions>) {
    this.name = name
    this.folder = folder
    this.#disks = disks
    this.qemu = new TestMachine({ ...options, folder, disks: disks.map((disk) => this.#testDisk(disk)) })
  }

  /** Makes the disks and starts QEMU on them. */
  static async start(options: {
    readonly name: string
    readonly folder: string
    readonly disks: readonly ModelDisk[]
    readonly qemu?: Partial<TestMachineOptions>
  }): Promise<ModelMachine> {
    const { name, folder, disks, qemu = {} } = options
    await mkdir(folder, { recursive: true })
    const machine = new ModelMachine(name, folder, disks, qemu)
    for (const disk of disks) await machine.#make(disk)
    await machine.qemu.start()
    return machine
  }

  get disks(): readonly ModelDisk[] {
    return this.#disks
  }

  /** The disks as the guest has written them up to now. */
  snapshot(): Snapshot {
    return new Map([...this.#model].map(([disk, bytes]) => [disk, Buffer.from(bytes)]))
  }

  content(disk: string): Buffer {
    const bytes = this.#model.get(disk)
    if (bytes === undefined) throw new Error(`machine ${this.name} has no disk ${disk}`)
    return bytes
  }

  async write(disk: string, offset: number, bytes: Buffer): Promise<void> {
    const file = join(this.folder, 'pattern')
    await writeFile(file, bytes)
    await this.qemu.guestIo(disk, `write -s ${file} ${offset} ${bytes.length}`)
    bytes.copy(this.content(disk), offset)
  }

  /** Writes zeroes; with `unmap` the image may also give the space back. */
  async zero(disk: string, offset: number, length: number, unmap = false): Promise<void> {
    await this.qemu.guestIo(disk, `write -z ${unmap ? '-u ' : ''}${offset} ${length}`)
    this.content(disk).fill(0, offset, offset + length)
  }

  /** Discards whole clusters: zeroes, or what was there where QEMU took no heed, as while a backup job is on the disk. */
  async discard(disk: string, offset: number, length: number): Promise<void> {
    if (offset % CLUSTER_BYTES !== 0 || length % CLUSTER_BYTES !== 0) throw new Error('only whole clusters')
    await this.qemu.guestDiscard(disk, offset, length)
    const zeroed = await this.qemu.guestIo(disk, `read -P 0 ${offset} ${length}`).then(
      () => true,
      () => false,
    )
    if (zeroed) this.content(disk).fill(0, offset, offset + length)
  }

  /** One write, zeroing or discard at a random place. */
  async touch(dice: Dice): Promise<void> {
    const { id, size } = dice.pick(this.#disks)
    const action = dice.pick(['write', 'write', 'write', 'zero', 'unmap', 'discard'] as const)
    if (action === 'discard') {
      const clusters = Math.floor(size / CLUSTER_BYTES)
      const first = dice.below(clusters)
      const count = 1 + dice.below(Math.min(8, clusters - first))
      return await this.discard(id, first * CLUSTER_BYTES, count * CLUSTER_BYTES)
    }
    const offset = 512 * dice.below(size / 512)
    const length = Math.min(size - offset, 512 * (1 + dice.below(dice.pick([1, 8, 128, 1024]))))
    if (action === 'write') await this.write(id, offset, dice.bytes(length))
    else await this.zero(id, offset, length, action === 'unmap')
  }

  /** The disk's own node. */
  nodeOf(disk: string): string {
    return this.#tops.get(disk) ?? disk
  }

  /** The image of a disk and what lies under it, the nearest first. */
  chainOf(disk: string): OffDisk['chain'] {
    const chain = this.#chains.get(disk)
    if (chain === undefined) throw new Error(`machine ${this.name} has no disk ${disk}`)
    return chain
  }

  /** A path that no image has yet. */
  newFile(): string {
    this.#filesMade += 1
    return join(this.folder, `image-${this.#filesMade}`)
  }

  async resize(disk: string, size: number): Promise<void> {
    await this.qemu.control.execute('block_resize', { 'node-name': this.nodeOf(disk), size })
    const before = this.content(disk)
    const after = Buffer.alloc(size)
    before.copy(after)
    this.#model.set(disk, after)
    this.#disks = this.#disks.map((one) => (one.id === disk ? { ...one, size } : one))
  }

  /** Makes a disk smaller and as large as it was again: what was cut off reads as zeroes. */
  async cut(disk: string, size: number): Promise<void> {
    const before = this.content(disk).length
    const node = this.nodeOf(disk)
    await this.qemu.control.execute('block_resize', { 'node-name': node, size })
    await this.qemu.control.execute('block_resize', { 'node-name': node, size: before })
    this.content(disk).fill(0, size)
  }

  /** Lets the guest go on in a new image over that of the disk; throws where QEMU refuses it. */
  async snapshotDisk(disk: string): Promise<void> {
    const file = this.newFile()
    const node = `${disk}-over-${this.#filesMade}`
    await this.qemu.control.execute('blockdev-snapshot-sync', {
      'node-name': this.nodeOf(disk),
      'snapshot-file': file,
      'snapshot-node-name': node,
      format: 'qcow2',
    })
    this.#tops.set(disk, node)
    this.#chains.set(disk, [{ file, format: 'qcow2' }, ...this.chainOf(disk)])
    this.#disks = this.#disks.map((one) => (one.id === disk ? { ...one, format: 'qcow2' } : one))
  }

  /**
   * Ends QEMU cleanly, lets `change` do something to the images, and starts QEMU with the disks that it gives, by their
   * names.
   */
  async whileOff(
    change: (disks: ReadonlyMap<string, OffDisk>) => Promise<ReadonlyMap<string, OffDisk>>,
  ): Promise<void> {
    await this.qemu.quit()
    const before = this.#disks.map(({ id, iothread = false }): [string, OffDisk] => [
      id,
      { iothread, chain: this.chainOf(id), content: this.content(id) },
    ])
    const disks = [...(await change(new Map(before)))]
    this.#model.clear()
    this.#chains.clear()
    for (const [id, { chain, content }] of disks) {
      // two disks never share one buffer
      this.#model.set(id, content === null ? await contentOf(chain[0]) : Buffer.from(content))
      this.#chains.set(id, chain)
    }
    this.#disks = disks.map(([id, { iothread, chain }]) => ({
      id,
      iothread,
      format: chain[0].format,
      size: this.content(id).length,
    }))
    await this.#start()
  }

  /** Kills QEMU, but not before what the guest wrote is in the images: a guest that did not flush could lose it. */
  async crash(): Promise<void> {
    for (const { id } of this.#disks) {
      const line = `qemu-io -d /machine/peripheral/${id}/virtio-backend flush`
      await this.qemu.control.execute('human-monitor-command', { 'command-line': line })
    }
    await this.qemu.kill9()
  }

  /** Ends QEMU (cleanly unless told) and starts it again, with other disks where they are given. */
  async restart(options: { readonly crash?: boolean; readonly disks?: readonly ModelDisk[] } = {}): Promise<void> {
    await (options.crash === true ? this.crash() : this.qemu.quit())
    const { disks } = options
    if (disks !== undefined) {
      for (const disk of disks) if (!this.#model.has(disk.id)) await this.#make(disk)
      for (const { id } of this.#disks)
        if (!disks.some((disk) => disk.id === id)) {
          this.#model.delete(id)
          this.#chains.delete(id)
        }
      this.#disks = disks
    }
    await this.#start()
  }

  async objects(): Promise<BlockObjects> {
    const { control } = this.qemu
    const named = async (command: string): Promise<string[]> =>
      ((await control.execute(command)) as { id: string }[]).map(({ id }) => id)
    const nodes = await listNodes(control)
    return {
      exports: await named('query-block-exports'),
      jobs: await named('query-jobs'),
      nodes: nodes.map(({ node }) => node).toSorted(),
      bitmaps: nodes.flatMap(({ node, bitmaps }) => bitmaps.map(({ name }) => `${node}/${name}`)).toSorted(),
      nbdServer: await this.#hasNbdServer(),
    }
  }

  /** The same of the disks alone, each node called by its disk, and of what is Varve's: without what lies under disks. */
  async ownObjects(): Promise<BlockObjects> {
    const all = await this.objects()
    const disks = new Map(this.#disks.map(({ id }) => [this.nodeOf(id), id]))
    const own = (name: string): string[] => {
      const [node = '', bitmap] = name.split('/')
      const known = disks.get(node) ?? (node.startsWith('varve-') ? node : null)
      if (known === null) return []
      return [bitmap === undefined ? known : `${known}/${bitmap}`]
    }
    return { ...all, nodes: all.nodes.flatMap(own).toSorted(), bitmaps: all.bitmaps.flatMap(own).toSorted() }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.qemu[Symbol.asyncDispose]()
  }

  /** QEMU has no question for it: starting a second server fails, and the one that this starts ends at once. */
  async #hasNbdServer(): Promise<boolean> {
    const { control } = this.qemu
    const file = join(this.folder, 'probe.nbd')
    try {
      await control.execute('nbd-server-start', { addr: { type: 'unix', data: { path: file } } })
    } catch {
      return true
    }
    await control.execute('nbd-server-stop')
    await rm(file, { force: true })
    return false
  }

  async #start(): Promise<void> {
    this.#tops.clear()
    await this.qemu.start({ disks: this.#disks.map((disk) => this.#testDisk(disk)) })
  }

  #testDisk({ id, format, size, iothread = false }: ModelDisk): TestDisk {
    const file = this.#chains.get(id)?.[0].file ?? join(this.folder, `${id}.${format}`)
    return { id, format, size, iothread, file }
  }

  async #make(disk: ModelDisk): Promise<void> {
    const content = disk.content ?? Buffer.alloc(disk.size)
    if (content.length !== disk.size) throw new Error(`the content of ${disk.id} is not as long as the disk`)
    this.#model.set(disk.id, Buffer.from(content))
    const { file, format } = this.#testDisk(disk)
    const image: Image = { file, format }
    this.#chains.set(disk.id, [image])
    if (disk.content !== undefined) await makeImage(image, content)
  }
}
