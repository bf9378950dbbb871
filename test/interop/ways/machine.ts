// One machine that runs in different ways, on the same disks, beside a model of what they hold.
import { chmod, mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Dice } from '../../support/model-dice.ts'
import { KIB, MIB, type Snapshot } from '../../support/model-machine.ts'
import type { TestDisk } from '../../support/qemu.ts'
import { run } from '../../support/run.ts'
import { eventually } from '../../support/temp.ts'
import { LibvirtCarrier, QmpCarrier, type Carrier } from './carriers.ts'

/** Where it runs: under a QEMU of its own on one of two hosts, or under libvirt on the first. */
export const WAYS = ['host 0', 'host 1', 'libvirt'] as const
export type Way = (typeof WAYS)[number]

/** Writes of the guest, in blocks of 512 bytes. */
const WRITE_BLOCKS = [1, 8, 128, 1024] as const

export class WaysMachine implements AsyncDisposable {
  readonly disks: readonly TestDisk[]
  readonly #carriers: ReadonlyMap<Way, Carrier>
  readonly #folder: string
  readonly #model = new Map<string, Buffer>()
  /** Null while it is off. */
  #running: Carrier | null = null
  /** How it ran last, or runs. */
  #way: Way = 'host 0'

  private constructor(folder: string, disks: readonly TestDisk[], carriers: ReadonlyMap<Way, Carrier>) {
    this.#folder = folder
    this.disks = disks
    this.#carriers = carriers
    for (const { id, size } of disks) this.#model.set(id, Buffer.alloc(size))
  }

  /** Makes the disks, one of which can hold no bitmap. */
  static async make(folder: string, uuid: string): Promise<WaysMachine> {
    await mkdir(folder, { recursive: true })
    // libvirt may run it as another user
    await chmod(dirname(folder), 0o711)
    await chmod(folder, 0o777)
    const disks: TestDisk[] = [
      { id: 'vda', format: 'qcow2', size: 4 * MIB, file: join(folder, 'vda.qcow2') },
      { id: 'vdb', format: 'qcow2', size: 3 * MIB + 1536, file: join(folder, 'vdb.qcow2') },
      { id: 'vdc', format: 'raw', size: 2 * MIB, file: join(folder, 'vdc.raw') },
    ]
    for (const { file, format, size } of disks) {
      await run('qemu-img', ['create', '-q', '-f', format, file, String(size)])
      await chmod(file, 0o666)
    }
    const carriers = new Map<Way, Carrier>([
      ['host 0', await QmpCarrier.make(join(folder, 'q0'), disks, uuid)],
      ['host 1', await QmpCarrier.make(join(folder, 'q1'), disks, uuid)],
      ['libvirt', await LibvirtCarrier.make(join(folder, 'lv'), disks, uuid)],
    ])
    return new WaysMachine(folder, disks, carriers)
  }

  get way(): Way {
    return this.#way
  }

  get isOff(): boolean {
    return this.#running === null
  }

  carrier(way: Way): Carrier {
    return this.#carriers.get(way)!
  }

  snapshot(): Snapshot {
    return new Map([...this.#model].map(([disk, bytes]) => [disk, Buffer.from(bytes)]))
  }

  async start(way: Way): Promise<void> {
    const carrier = this.carrier(way)
    // a backup that was cancelled while it was off gives QEMU's lock back a moment later
    await eventually(async () => {
      try {
        await carrier.start()
        return true
      } catch (error) {
        if (/"write" lock/u.test(String(error))) return false
        throw error
      }
    })
    this.#running = carrier
    this.#way = way
  }

  async stop(crash: boolean): Promise<void> {
    await this.#running?.stop(crash)
    this.#running = null
  }

  /** Moves it from one QEMU to the other one, live. */
  async migrate(withBitmaps: boolean): Promise<void> {
    const to: Way = this.#way === 'host 0' ? 'host 1' : 'host 0'
    const [source, target] = [this.carrier(this.#way) as QmpCarrier, this.carrier(to) as QmpCarrier]
    await source.migrateTo(target, withBitmaps)
    this.#running = target
    this.#way = to
  }

  /** One write or zeroing of the guest at a random place; nothing while it is off. */
  async touch(dice: Dice): Promise<void> {
    const { id, size } = dice.pick(this.disks)
    const offset = 512 * dice.below(size / 512)
    const length = Math.min(size - offset, 512 * (1 + dice.below(dice.pick(WRITE_BLOCKS))), 256 * KIB)
    const zeroes = dice.chance(0.3)
    const bytes = zeroes ? Buffer.alloc(length) : dice.bytes(length)
    if (this.#running === null) return
    if (zeroes) await this.#running.io(id, `write -z ${offset} ${length}`)
    else {
      const file = join(this.#folder, 'pattern')
      await writeFile(file, bytes, { mode: 0o644 })
      await this.#running.io(id, `write -s ${file} ${offset} ${length}`)
    }
    bytes.copy(this.#model.get(id)!, offset)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const carrier of this.#carriers.values()) await carrier[Symbol.asyncDispose]()
  }
}
