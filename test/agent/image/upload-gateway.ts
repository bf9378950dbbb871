// The gateway's half of an upload as a test plays it: keeps what comes, checks its order, and answers as it is told.
import { keyedHash } from '../../../protocol/host/keyed-hash.ts'
import { ID_BYTES } from '../../../protocol/chunk.ts'
import { ANSWER, DOWN, RUN, UP, type Params, type Result, type Up } from '../../../protocol/methods.ts'
import type { ServedCall } from '../../../protocol/peer.ts'
import { plainOf, splitChunks } from '../../protocol/wire-chunks.ts'

export const ID_KEY = new Uint8Array(32).fill(7)
const PROOF_KEY = new Uint8Array(32).fill(9)

export const idOf = (plain: Uint8Array): string => Buffer.from(keyedHash(ID_KEY, plain)).toString('hex')

export interface UploadScript {
  /** Where the upload goes on. */
  readonly position?: number
  /** Chunks that the gateway has, by id: those of its own machine, and those that must be proved. */
  readonly have?: ReadonlySet<string>
  readonly prove?: ReadonlyMap<string, Uint8Array>
  /** Proved chunks whose own copy is damaged. */
  readonly damaged?: ReadonlySet<string>
  /** Runs before each message is taken; may wait or throw. */
  readonly onMessage?: (kind: number, count: number) => Promise<void>
  /** Runs before a `runs` message is answered. */
  readonly beforeAnswer?: () => Promise<void>
}

type Place = { readonly kind: 'zero' | 'keep' } | { readonly kind: 'chunk'; readonly id: string }

const splitIds = (bytes: Uint8Array): string[] => {
  const ids: string[] = []
  for (let at = 0; at < bytes.length; at += ID_BYTES)
    ids.push(Buffer.from(bytes.subarray(at, at + ID_BYTES)).toString('hex'))
  return ids
}

export class UploadGateway {
  readonly chunks = new Map<string, Uint8Array>()
  readonly places: Place[] = []
  readonly proved: string[] = []
  readonly codecs = new Set<number>()
  messages = 0
  ended = false
  readonly #script: UploadScript
  readonly #wanted = new Set<string>()
  readonly #toProve = new Set<string>()

  constructor(script: UploadScript = {}) {
    this.#script = script
  }

  /** The disk from the upload's first position on; `base` fills what is kept. */
  content(size: number, chunkBytes: number, base = Buffer.alloc(size)): Buffer {
    const from = this.#script.position ?? 0
    const disk = Buffer.alloc(size)
    for (const [index, place] of this.places.entries()) {
      const offset = (from + index) * chunkBytes
      const end = Math.min(offset + chunkBytes, size)
      if (place.kind === 'keep') base.copy(disk, offset, offset, end)
      if (place.kind !== 'chunk') continue
      const bytes = this.chunks.get(place.id) ?? this.#script.prove?.get(place.id)
      if (bytes?.length !== end - offset) throw new Error(`the chunk at ${offset} has ${bytes?.length} bytes`)
      disk.set(bytes, offset)
    }
    return disk.subarray(from * chunkBytes)
  }

  readonly serve = async (
    _params: Params<'image.upload'>,
    call: ServedCall<'image.upload'>,
  ): Promise<Result<'image.upload'>> => {
    await call.send([DOWN.start, { position: this.#script.position ?? 0, proofKey: PROOF_KEY }])
    for await (const message of call.messages) {
      this.messages++
      await this.#script.onMessage?.(message[0], this.messages)
      if (message[0] === UP.runs) {
        const answers = this.#onRuns(message[1])
        await this.#script.beforeAnswer?.()
        await call.send([DOWN.answers, answers])
      } else if (message[0] === UP.chunks) this.#onChunks(message)
      else await call.send([DOWN.verdicts, this.#onProofs(message[1])])
    }
    if (this.#wanted.size > 0 || this.#toProve.size > 0) throw new Error('the upload ended early')
    this.ended = true
    return { root: null }
  }

  #onRuns(runs: Extract<Up<'image.upload'>, [typeof UP.runs, unknown]>[1]): Uint8Array {
    const answers: number[] = []
    for (const [kind, value] of runs) {
      if (kind === RUN.ids) {
        for (const id of splitIds(value)) {
          this.places.push({ kind: 'chunk', id })
          answers.push(this.#answer(id))
        }
      } else for (let at = 0; at < value; at++) this.places.push({ kind: kind === RUN.zero ? 'zero' : 'keep' })
    }
    return Uint8Array.from(answers)
  }

  #answer(id: string): number {
    const { have, prove } = this.#script
    if (have?.has(id) === true || this.chunks.has(id) || this.#wanted.has(id) || this.#toProve.has(id))
      return ANSWER.have
    if (prove?.has(id) === true) {
      if (this.proved.includes(id)) return ANSWER.have
      this.#toProve.add(id)
      return ANSWER.prove
    }
    this.#wanted.add(id)
    return ANSWER.want
  }

  #onChunks([, heads, stored]: Extract<Up<'image.upload'>, [typeof UP.chunks, ...unknown[]]>): void {
    for (const chunk of splitChunks({ heads, stored })) {
      const id = Buffer.from(chunk.id).toString('hex')
      if (!this.#wanted.delete(id)) throw new Error(`chunk ${id} was not asked for`)
      const plain = plainOf(chunk)
      if (idOf(plain) !== id) throw new Error(`chunk ${id} is wrong`)
      this.codecs.add(chunk.codec)
      this.chunks.set(id, Uint8Array.from(plain))
    }
  }

  #onProofs(proofs: readonly (readonly [Uint8Array, Uint8Array])[]): Uint8Array {
    return Uint8Array.from(proofs, ([idBytes, proof]) => {
      const id = Buffer.from(idBytes).toString('hex')
      const plain = this.#script.prove?.get(id)
      if (!this.#toProve.delete(id) || plain === undefined) throw new Error(`a proof for ${id} was not asked for`)
      if (Buffer.compare(keyedHash(PROOF_KEY, plain), proof) !== 0) throw new Error(`the proof for ${id} is wrong`)
      this.proved.push(id)
      if (this.#script.damaged?.has(id) !== true) return ANSWER.have
      this.#wanted.add(id)
      return ANSWER.want
    })
  }
}
