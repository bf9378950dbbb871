// A machine whose guest writes without a pause, and which knows what its disks held after each write: so any restore point can be
// compared with the one moment that it is of.
import { Dice } from '../support/model-dice.ts'
import { MIB, type ModelDisk, type ModelMachine, type Snapshot } from '../support/model-machine.ts'

/** The first block of the first disk holds the number of the last write. */
const COUNTER_BYTES = 512

/** Longest write, in blocks of 512 bytes, and pause between two of them, in milliseconds. */
const BLOCKS_MAX = 128
const PAUSE_MS = 200

/** Disks of each machine: one of each format. */
export const GUEST_DISKS: readonly ModelDisk[] = [
  { id: 'vda', format: 'qcow2', size: 16 * MIB },
  { id: 'vdb', format: 'raw', size: 8 * MIB },
]

interface Write {
  readonly disk: string
  readonly offset: number
  readonly length: number
  /** From which its bytes are made again. */
  readonly seed: number
}

const counterOf = (step: number): Buffer => {
  const block = Buffer.alloc(COUNTER_BYTES)
  block.writeDoubleLE(step)
  return block
}

const empty = (): Map<string, Buffer> => new Map(GUEST_DISKS.map(({ id, size }) => [id, Buffer.alloc(size)]))

/** What the disks held, moved forward write by write. */
class Replay {
  readonly disks = empty()
  step = 0

  /** Moves on until behind the write of this number, its counter included. */
  to(step: number, writes: readonly Write[]): void {
    for (; this.step < step; this.step++) {
      this.apply(writes[this.step]!)
      counterOf(this.step + 1).copy(this.disks.get('vda')!)
    }
  }

  apply({ disk, offset, length, seed }: Write): void {
    new Dice(seed).bytes(length).copy(this.disks.get(disk)!, offset)
  }
}

export class WritingGuest {
  readonly machine: ModelMachine
  readonly #dice: Dice
  readonly #writes: Write[] = []
  readonly #seed: number
  #replay = new Replay()
  #running = false
  #working: Promise<void> = Promise.resolve()
  /** Why it stopped writing by itself. */
  failure: Error | null = null

  constructor(machine: ModelMachine, seed: number) {
    this.machine = machine
    this.#seed = seed
    this.#dice = new Dice(seed)
  }

  get name(): string {
    return this.machine.name
  }

  /** Writes that are done. */
  get writes(): number {
    return this.#writes.length
  }

  start(): void {
    this.#running = true
    this.#working = this.#work().catch((error: unknown) => {
      this.failure = error as Error
    })
  }

  /** Resolves when no write is under way. */
  async pause(): Promise<void> {
    this.#running = false
    await this.#working
  }

  /** Ends QEMU as a shutdown does. */
  async off(): Promise<void> {
    await this.pause()
    await this.machine.qemu.quit()
  }

  async on(): Promise<void> {
    await this.machine.qemu.start()
    this.start()
  }

  /** Says how a restore point differs from every moment that the disks had; null for one that is exactly one of them. */
  compare(restored: Snapshot): string | null {
    const first = restored.get('vda')
    const lacks = GUEST_DISKS.find(({ id, size }) => restored.get(id)?.length !== size)
    if (first === undefined || lacks !== undefined) return `it has not the disk ${lacks?.id ?? 'vda'} as it was`
    const step = first.readDoubleLE()
    if (!Number.isSafeInteger(step) || step < 0 || step > this.#writes.length) return `there was no write ${step}`
    if (this.#replay.step > step) this.#replay = new Replay()
    const replay = this.#replay
    replay.to(step, this.#writes)
    const differs = (): string | null => {
      const wrong = GUEST_DISKS.find(({ id }) => !restored.get(id)!.equals(replay.disks.get(id)!))
      return wrong === undefined ? null : `disk ${wrong.id} is not as it was after write ${step}`
    }
    const found = differs()
    const next = this.#writes[step]
    if (found === null || next === undefined) return found
    // the next write may be in, and its number not yet
    const disk = replay.disks.get(next.disk)!
    const before = Buffer.from(disk.subarray(next.offset, next.offset + next.length))
    replay.apply(next)
    const still = differs()
    before.copy(disk, next.offset)
    return still
  }

  async #work(): Promise<void> {
    while (this.#running) {
      const { id, size } = this.#dice.pick(GUEST_DISKS)
      const blocks = 1 + this.#dice.below(BLOCKS_MAX)
      // the first block is the counter's
      const offset = 512 * (1 + this.#dice.below(size / 512 - BLOCKS_MAX - 1))
      const seed = this.#seed * 1_000_003 + this.#writes.length + 1
      const write = { disk: id, offset, length: blocks * 512, seed }
      // known before it is made: a point may be taken between it and its number
      this.#writes.push(write)
      await this.machine.write(id, offset, new Dice(seed).bytes(write.length))
      await this.machine.write('vda', 0, counterOf(this.#writes.length))
      await new Promise((resolve) => void setTimeout(resolve, PAUSE_MS))
    }
  }
}
