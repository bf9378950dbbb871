// What becomes of a machine's disks between backups, each event on the real machine and in what is known of it.
import * as images from '../support/image-chain.ts'
import type { Dice } from '../support/model-dice.ts'
import { CLUSTER_BYTES, MIB, type ModelMachine } from '../support/model-machine.ts'
import type { KnownDisks } from './known-disks.ts'

/** Names of the disks by their places: a disk that comes in front of them moves every name to another one. */
const NAMES = ['vda', 'vdb', 'vdc', 'vdd'] as const

/** So many images lie above one another, at most. */
const LAYERS_MAX = 4

export const DISK_EVENTS = ['resize', 'cut', 'swap', 'copy', 'front', 'snapshot', 'rebase', 'rewrite'] as const
export type DiskEvent = (typeof DISK_EVENTS)[number]

export class DiskEvents {
  readonly #dice: Dice
  readonly #machine: ModelMachine
  readonly #known: KnownDisks
  readonly #tell: (line: string) => void

  constructor(parts: { dice: Dice; machine: ModelMachine; known: KnownDisks; tell: (line: string) => void }) {
    this.#dice = parts.dice
    this.#machine = parts.machine
    this.#known = parts.known
    this.#tell = parts.tell
  }

  async happen(event: DiskEvent): Promise<void> {
    switch (event) {
      case 'resize':
        return await this.#resize()
      case 'cut':
        return await this.#cut()
      case 'swap':
      case 'copy':
        return await this.#exchange(event)
      case 'front':
        return await this.#front()
      case 'snapshot':
        return await this.#snapshot()
      case 'rebase':
      case 'rewrite':
        return await this.#changeBelow(event)
    }
  }

  async restart(crash: boolean): Promise<void> {
    await this.#machine.restart({ crash })
    this.#known.restarted(crash, this.#machine.disks)
  }

  /** A disk that a snapshot can be taken of without too many images above one another; null where there is none. */
  pickForSnapshot(): string | null {
    const disks = this.#machine.disks.filter(({ id }) => this.#machine.chainOf(id).length < LAYERS_MAX)
    return disks.length === 0 ? null : this.#dice.pick(disks).id
  }

  async #resize(): Promise<void> {
    const { id, size } = this.#dice.pick(this.#machine.disks)
    const larger = Math.min(8 * MIB, size + 512 * this.#dice.below(1024))
    this.#tell(`${id} grows from ${size} to ${larger}`)
    if (larger === size) return
    await this.#unlessInconsistent(id, () => this.#machine.resize(id, larger))
  }

  /** A disk is smaller for a moment, by more than its last cluster, of which qcow2 keeps what lies behind the end. */
  async #cut(): Promise<void> {
    const { id, size } = this.#dice.pick(this.#machine.disks)
    const smaller = CLUSTER_BYTES * (1 + this.#dice.below(size / CLUSTER_BYTES - 2))
    this.#tell(`${id} is cut to ${smaller} and has ${size} again`)
    await this.#unlessInconsistent(id, async () => {
      await this.#machine.cut(id, smaller)
      this.#known.set(id, { cut: true })
    })
  }

  /** QEMU does not resize an image with an inconsistent bitmap. */
  async #unlessInconsistent(disk: string, resize: () => Promise<void>): Promise<void> {
    try {
      await resize()
    } catch (error) {
      if (this.#known.get(disk).checkpoint === 'kept') throw error
      this.#tell('  refused')
    }
  }

  /** Two images change places, or one becomes a copy of another. */
  async #exchange(how: 'swap' | 'copy'): Promise<void> {
    const one = this.#dice.pick(this.#machine.disks).id
    const other = this.#dice.pick(this.#machine.disks.filter(({ id }) => id !== one)).id
    this.#tell(how === 'swap' ? `${one} and ${other} swap images` : `${one} becomes a copy of ${other}`)
    await this.#whileOff(async (disks) => {
      const [first, second] = [disks.get(one)!, disks.get(other)!]
      if (how === 'copy') return new Map(disks).set(one, await images.copyImage(first, second))
      const [firstNow, secondNow] = await images.swapImages(first, second)
      return new Map(disks).set(one, firstNow).set(other, secondNow)
    })
    const names = this.#machine.disks.map(({ id }): [string, string] => [id, id])
    this.#known.rename(new Map([...names, [one, other], ...(how === 'swap' ? [[other, one] as const] : [])]))
  }

  /** A new disk comes before the others, or the first one goes where there is no name left. */
  async #front(): Promise<void> {
    const ids = this.#machine.disks.map(({ id }) => id)
    const isFull = ids.length === NAMES.length
    this.#tell(isFull ? 'the first disk is removed' : 'a disk is added in front of the others')
    const from = isFull ? ids.slice(1) : [null, ...ids]
    await this.#whileOff(async (disks) => {
      const now = await Promise.all(from.map(async (id) => (id === null ? await this.#newDisk() : disks.get(id)!)))
      return new Map(now.map((image, place) => [NAMES[place]!, image]))
    })
    this.#known.rename(new Map(from.map((id, place) => [NAMES[place]!, id])))
  }

  async #newDisk(): Promise<images.OffDisk> {
    const format = this.#dice.pick(['qcow2', 'raw'] as const)
    const bytes = MIB + 512 * this.#dice.below(4096)
    const content = Buffer.concat([this.#dice.bytes(bytes - MIB), Buffer.alloc(MIB)])
    const image = { file: this.#machine.newFile(), format }
    await images.makeImage(image, content)
    return { iothread: false, chain: [image], content }
  }

  async #snapshot(): Promise<void> {
    const id = this.pickForSnapshot()
    if (id === null) return
    this.#tell(`a snapshot of ${id}`)
    await this.#machine.snapshotDisk(id)
    this.#known.set(id, { checkpoint: 'lost' })
  }

  /**
   * Something else comes to lie under a disk, or what lies there is written again; one that lies over nothing is laid over
   * its image.
   */
  async #changeBelow(how: 'rebase' | 'rewrite'): Promise<void> {
    const layered = this.#machine.disks.filter(({ id }) => this.#machine.chainOf(id).length > 1)
    const { id } = this.#dice.pick(layered.length > 0 ? layered : this.#machine.disks)
    if (layered.length === 0) {
      this.#tell(`an image is laid over that of ${id}`)
      await this.#whileOff(async (disks) => {
        return new Map(disks).set(id, await images.layOver(disks.get(id)!, this.#machine.newFile()))
      })
      return this.#known.set(id, { checkpoint: 'lost' })
    }
    if (how === 'rebase') {
      this.#tell(`${id} is rebased to another image`)
      await this.#whileOff(async (disks) =>
        new Map(disks).set(id, await images.rebase(disks.get(id)!, this.#machine.newFile(), this.#dice)),
      )
      return this.#known.set(id, { otherBacking: true })
    }
    const under = this.#dice.pick(this.#machine.chainOf(id).slice(1))
    const hidden = this.#dice.chance(0.5)
    this.#tell(`what lies under ${id} is written again${hidden ? ', with its old time' : ''}`)
    await this.#whileOff(async (disks) => {
      const changed = await images.rewrite([...disks.values()], under, { dice: this.#dice, hidden })
      for (const [place, disk] of [...disks.keys()].entries())
        if (images.liesOver(changed[place]!, under)) this.#known.set(disk, { otherBacking: true })
      return new Map([...disks.keys()].map((disk, place) => [disk, changed[place]!]))
    })
  }

  /** A clean end keeps what is stored in the images and loses what is not. */
  async #whileOff(change: Parameters<ModelMachine['whileOff']>[0]): Promise<void> {
    this.#known.restarted(false, this.#machine.disks)
    await this.#machine.whileOff(change)
  }
}
