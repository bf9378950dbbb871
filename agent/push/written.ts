// Which blocks of a pushed disk have been written, and whether with bytes or with zeroes.

/** What a block is counted in, in bytes: no backup job of QEMU's writes less of a disk, but for its end. */
export const BLOCK_BYTES = 65_536

/** Blocks of one page; a page whose blocks are all alike takes no memory. */
const PAGE_BLOCKS = 8192

export const BLOCK = { unwritten: 0, data: 1, zero: 2 } as const
export type BlockState = (typeof BLOCK)[keyof typeof BLOCK]

export class Written {
  readonly blocks: number
  /** How many have been written. */
  count = 0
  readonly #pages = new Map<number, BlockState | Uint8Array>()

  constructor(size: number) {
    this.blocks = Math.ceil(size / BLOCK_BYTES)
  }

  /** Blocks `first` to `end`, not included, have been written so. */
  mark(first: number, end: number, state: BlockState): void {
    for (let at = first; at < end;) {
      const number = Math.floor(at / PAGE_BLOCKS)
      const pageFirst = number * PAGE_BLOCKS
      const pageEnd = Math.min(pageFirst + PAGE_BLOCKS, this.blocks)
      const until = Math.min(end, pageEnd)
      this.#markPage(number, at - pageFirst, until - pageFirst, pageEnd - pageFirst, state)
      at = until
    }
  }

  /** Blocks from `first` on that are alike; at most up to `end`, not included. */
  run(first: number, end: number): { readonly state: BlockState; readonly end: number } {
    const state = this.#at(first)
    let at = first + 1
    while (at < end) {
      const number = Math.floor(at / PAGE_BLOCKS)
      const page = this.#pages.get(number) ?? BLOCK.unwritten
      const pageEnd = Math.min((number + 1) * PAGE_BLOCKS, end)
      if (typeof page === 'number') {
        if (page !== state) break
        at = pageEnd
        continue
      }
      const base = number * PAGE_BLOCKS
      while (at < pageEnd && page[at - base] === state) at++
      if (at < pageEnd) break
    }
    return { state, end: Math.min(at, end) }
  }

  #at(block: number): BlockState {
    const page = this.#pages.get(Math.floor(block / PAGE_BLOCKS)) ?? BLOCK.unwritten
    return typeof page === 'number' ? page : (page[block % PAGE_BLOCKS] as BlockState)
  }

  #markPage(number: number, first: number, end: number, blocks: number, state: BlockState): void {
    const old = this.#pages.get(number) ?? BLOCK.unwritten
    if (typeof old === 'number') {
      if (old === state) return
      if (old === BLOCK.unwritten) this.count += end - first
      if (first === 0 && end === blocks) {
        this.#pages.set(number, state)
        return
      }
      const page = new Uint8Array(blocks).fill(old)
      page.fill(state, first, end)
      this.#pages.set(number, page)
      return
    }
    for (let at = first; at < end; at++) if (old[at] === BLOCK.unwritten) this.count++
    old.fill(state, first, end)
    // it is looked at as a whole only where its end is reached: that is where a job that goes from left to right leaves it
    if (end === blocks && old.every((one) => one === state)) this.#pages.set(number, state)
  }
}
