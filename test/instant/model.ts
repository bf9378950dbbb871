// What a disk may hold: the point's content under what the guest wrote, of which a crash may lose what was not flushed.

const SECTOR_BYTES = 512

interface Write {
  readonly offset: number
  readonly bytes: Buffer
}

export class DiskModel {
  #durable: Buffer
  #pending: Write[] = []

  constructor(content: Buffer) {
    this.#durable = Buffer.from(content)
  }

  get size(): number {
    return this.#durable.length
  }

  /** What a read has to give while the machine runs. */
  get current(): Buffer {
    const now = Buffer.from(this.#durable)
    for (const { offset, bytes } of this.#pending) now.set(bytes, offset)
    return now
  }

  /** A write that was asked for; whether it was acknowledged matters only once it is flushed. */
  write(offset: number, bytes: Buffer): void {
    this.#pending.push({ offset, bytes })
  }

  flush(): void {
    this.#durable = this.current
    this.#pending = []
  }

  /** Takes what is there after a crash; a sentence where it is nothing that may be there. */
  crash(found: Buffer): string | null {
    for (let at = 0; at < this.size; at += SECTOR_BYTES) {
      const end = at + SECTOR_BYTES
      const sector = found.subarray(at, end)
      if (sector.equals(this.#durable.subarray(at, end))) continue
      const isWritten = this.#pending.some(
        ({ offset, bytes }) =>
          offset <= at && end <= offset + bytes.length && sector.equals(bytes.subarray(at - offset, end - offset)),
      )
      if (!isWritten) return `the sector at ${at} has what it never had, or has lost what was flushed`
    }
    this.#durable = Buffer.from(found)
    this.#pending = []
    return null
  }
}
