// What one upload has asked of its agent: the ids whose chunks are wanted, those to be proved, and those not yet in the index.
import { VarveError } from '../../protocol/errors.ts'
import { ANSWER } from '../../protocol/methods.ts'
import { idName } from '../../protocol/host/bytes.ts'
import type { RunBatch } from './backlog.ts'

/** The batch that asked for an id first, and the length that its chunk must have, in bytes. */
export interface Asked {
  readonly batch: RunBatch
  readonly length: number
}

/** The refusal of an id whose chunk is not as long as its place in the disk. */
export const wrongLength = (length: number): VarveError =>
  new VarveError('CHUNK_INVALID', `the id of a chunk of another length was named where one of ${length} bytes is`)

const lengthOf = (pending: Asked | number): number => (typeof pending === 'number' ? pending : pending.length)

/** Batches are placed in order, so one answer serves every later place that names the same id. */
export class AskedIds {
  /** Ids whose chunk was asked for and is not in the index yet; once it has arrived, only its length in bytes. */
  readonly #wanted = new Map<string, Asked | number>()
  readonly #toProve = new Map<string, Asked>()
  #wantedOpen = 0

  /** Ids whose chunk or proof has not come. */
  get open(): number {
    return this.#wantedOpen + this.#toProve.size
  }

  /** The answer to an id that the index does not have; CHUNK_INVALID where it was named for a chunk of another length. */
  want(id: Uint8Array, asked: Asked): number {
    const name = idName(id)
    const pending = this.#wanted.get(name)
    if (pending !== undefined) {
      if (lengthOf(pending) !== asked.length) throw wrongLength(asked.length)
      return ANSWER.have
    }
    this.#want(name, asked)
    asked.batch.missing++
    return ANSWER.want
  }

  /** The answer to an id that another machine brought. */
  prove(id: Uint8Array, asked: Asked): number {
    const name = idName(id)
    if (this.#toProve.has(name) || this.#wanted.has(name)) return ANSWER.have
    this.#toProve.set(name, asked)
    asked.batch.missing++
    return ANSWER.prove
  }

  /** Takes the question that a received chunk answers; CHUNK_INVALID. */
  takeWanted(id: Uint8Array, plainLength: number): Asked {
    const name = idName(id)
    const asked = this.#wanted.get(name)
    if (asked === undefined || typeof asked === 'number')
      throw new VarveError('CHUNK_INVALID', 'a chunk came that was not asked for')
    if (asked.length !== plainLength)
      throw new VarveError('CHUNK_INVALID', `a chunk has ${plainLength} bytes, ${asked.length} were expected`)
    this.#wanted.set(name, asked.length)
    this.#wantedOpen--
    return asked
  }

  /** Takes the question that a proof answers; PROOF_INVALID. */
  takeToProve(id: Uint8Array): Asked {
    const name = idName(id)
    const asked = this.#toProve.get(name)
    if (asked === undefined) throw new VarveError('PROOF_INVALID', 'a proof came that was not asked for')
    this.#toProve.delete(name)
    return asked
  }

  /** Asks for the chunk itself where our own copy turned out to be damaged. */
  wantInstead(id: Uint8Array, asked: Asked): void {
    this.#want(idName(id), asked)
  }

  /** Ids of these names are in the index now. */
  indexed(names: readonly string[]): void {
    for (const name of names) if (typeof this.#wanted.get(name) === 'number') this.#wanted.delete(name)
  }

  #want(name: string, asked: Asked): void {
    this.#wanted.set(name, asked)
    this.#wantedOpen++
  }
}
