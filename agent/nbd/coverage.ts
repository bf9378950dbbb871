// Which bytes of one read have arrived: each must, exactly once.

import { protocolError } from './wire.ts'

/** Most separate pieces of one read at any moment; pieces that touch count as one. */
export const COVERAGE_PIECES_MAX = 1024

interface Piece {
  start: number
  end: number
}

/** Collects the pieces of the range from `offset`, `length` bytes long, in any order. */
export class Coverage {
  readonly #start: number
  readonly #end: number
  // ascending, at least one byte apart
  readonly #pieces: Piece[] = []

  constructor(offset: number, length: number) {
    this.#start = offset
    this.#end = offset + length
  }

  /** Throws NBD_PROTOCOL where the piece is empty, outside the range, or overlaps an earlier one. */
  add(offset: number, length: number): void {
    const end = offset + length
    if (length === 0) throw protocolError('a read was answered with an empty chunk')
    if (offset < this.#start || end > this.#end) throw protocolError('a read was answered with bytes outside its range')
    const pieces = this.#pieces
    const index = this.#indexAfter(offset)
    const before = pieces[index - 1]
    const after = pieces[index]
    if ((before !== undefined && before.end > offset) || (after !== undefined && after.start < end)) {
      throw protocolError('a read was answered with the same bytes twice')
    }
    const joinsBefore = before?.end === offset
    const joinsAfter = after?.start === end
    if (joinsBefore && joinsAfter) {
      before.end = after.end
      pieces.splice(index, 1)
    } else if (joinsBefore) {
      before.end = end
    } else if (joinsAfter) {
      after.start = offset
    } else {
      if (pieces.length >= COVERAGE_PIECES_MAX) throw protocolError('a read was answered in too many pieces')
      pieces.splice(index, 0, { start: offset, end })
    }
  }

  get complete(): boolean {
    const [first] = this.#pieces
    return first !== undefined && first.start === this.#start && first.end === this.#end
  }

  /** The index of the first piece that starts behind `offset`. */
  #indexAfter(offset: number): number {
    let low = 0
    let high = this.#pieces.length
    while (low < high) {
      const middle = (low + high) >>> 1
      const piece = this.#pieces[middle]
      if (piece !== undefined && piece.start <= offset) low = middle + 1
      else high = middle
    }
    return low
  }
}
