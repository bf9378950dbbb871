// The machines of a history and what their disks hold: guests write, clone, zero and grow.
import type { Dice } from '../support/model-dice.ts'
import { CHUNK_BYTES, type DiskContent } from './contents.ts'
import type { ModelMachine } from './plan.ts'

/** Contents that every machine of every tenant may have: an operating system, say. */
const COMMON_CONTENTS = 150

interface Guest {
  readonly machine: ModelMachine
  disks: DiskContent[]
  /** What they held before, newest last. */
  readonly past: DiskContent[][]
}

const sized = (disk: Pick<DiskContent, 'name'>, chunks: readonly number[], short: number): DiskContent => ({
  name: disk.name,
  size: chunks.length * CHUNK_BYTES - short,
  chunks,
})

export class Fleet {
  readonly #dice: Dice
  readonly guests: readonly Guest[]
  #nextContent = 1000

  constructor(machines: readonly ModelMachine[], dice: Dice) {
    this.#dice = dice
    this.guests = machines.map((machine) => ({ machine, disks: this.#install(), past: [] }))
  }

  guest(name: string): Guest {
    return this.guests.find(({ machine }) => machine.name === name)!
  }

  /** A guest works for a while. */
  write(guest: Guest): void {
    const dice = this.#dice
    guest.past.push(guest.disks)
    guest.disks = guest.disks.map((disk) => {
      const chunks = [...disk.chunks]
      if (dice.chance(0.05)) return this.#cloned(disk)
      const writes = 1 + dice.below(6)
      for (let done = 0; done < writes; done++) this.#writeOnce(chunks)
      const short = disk.chunks.length * CHUNK_BYTES - disk.size
      if (!dice.chance(0.08)) return sized(disk, chunks, short)
      return sized(disk, [...chunks, ...this.#fill(1 + dice.below(80))], 512 * dice.below(8))
    })
  }

  /** A guest is set back to what it was some time ago. */
  rollBack(guest: Guest): void {
    if (guest.past.length > 0) guest.disks = this.#dice.pick(guest.past)
  }

  #writeOnce(chunks: number[]): void {
    const dice = this.#dice
    const from = dice.below(chunks.length)
    const to = Math.min(chunks.length, from + 1 + dice.below(dice.chance(0.2) ? 100 : 6))
    const how = dice.below(5)
    for (let index = from; index < to; index++)
      chunks[index] = how === 0 ? 0 : how === 1 ? 1 + dice.below(COMMON_CONTENTS) : this.#nextContent++
  }

  /** The content of another machine's disk. */
  #cloned(disk: DiskContent): DiskContent {
    const { disks } = this.#dice.pick(this.guests)
    return { ...this.#dice.pick(disks), name: disk.name }
  }

  #install(): DiskContent[] {
    const dice = this.#dice
    const names = dice.chance(0.2) ? ['vda', 'vdb'] : ['vda']
    return names.map((name) => {
      const count = dice.chance(0.04) ? 1024 : 40 + dice.below(140)
      return sized({ name }, this.#fill(count), dice.chance(0.5) ? 512 * dice.below(8) : 0)
    })
  }

  #fill(count: number): number[] {
    const dice = this.#dice
    const chunks: number[] = []
    while (chunks.length < count) {
      const run = 1 + dice.below(40)
      const how = dice.below(4)
      const common = dice.below(COMMON_CONTENTS)
      for (let index = 0; index < run; index++)
        chunks.push(how === 0 ? 0 : how < 3 ? 1 + ((common + index) % COMMON_CONTENTS) : this.#nextContent++)
    }
    return chunks.slice(0, count)
  }
}
