// The memory of one upload: the window of its stream, and room for what is answered and not durable yet.
import { CHUNK_WINDOW_BYTES } from '../../protocol/limits.ts'
import type { ServedCall } from '../../protocol/peer.ts'
import type { Account, Hold } from '../memory/budget.ts'
import { ITEM_BYTES, MESSAGE_OVERHEAD_BYTES, UPLOAD_BYTES, UPLOAD_WINDOW_BYTES_MIN } from '../memory/limits.ts'
import type { Hand } from './hand.ts'
import type { HeldBack, UploadLoad } from './upload-load.ts'

/** Room for items is taken and freed in steps of so many bytes. */
const ITEMS_STEP_BYTES = 64 * 1024

/** Credit is granted again at the latest when so much of the window was processed. */
const GRANT_SHARE = 1 / 4

/** Messages in hand up to which the gateway is about to wait for the agent, so that more should be on its way. */
const HUNGRY_MESSAGES = 1

/** A call of an agent, and what the agent may make the gateway hold. */
export interface UploadCall {
  readonly call: ServedCall<'image.upload'>
  readonly account: Account
}

interface Admission extends UploadCall {
  /** Of all uploads of the gateway. */
  readonly load: UploadLoad
  /** Told what of the upload is at the gateway; nobody asks where it is absent. */
  readonly hand?: Hand
}

/** Window that an upload of chunks of this size always has, in bytes: its largest message must fit. */
const windowMin = (chunkBytes: number): number => Math.max(UPLOAD_WINDOW_BYTES_MIN, chunkBytes + MESSAGE_OVERHEAD_BYTES)

/**
 * Disposing it frees everything. The window counts the agent's credit, what waits to be read and what is being processed, so it
 * bounds all bytes of the upload's messages. It grows up to the method's while the gateway waits for the agent and there is
 * memory, and goes back while the gateway is the slower one, which a larger window would only make hold more, or others wait.
 * Where that is so for all uploads together, credit is held back besides.
 */
export class UploadMemory implements Disposable, HeldBack {
  readonly #account: Account
  readonly #hold: Hold
  readonly #windowMin: number
  readonly #grant: (bytes: number) => void
  readonly #load: UploadLoad
  readonly #hand: Hand | undefined
  /** Messages in hand. */
  #inHand = 0
  #window = 0
  /** Parts of the window: read and in process, and processed but not granted again. */
  #busy = 0
  #done = 0
  /** Part of what is busy: what the gateway is done with whatever the agent does. */
  #working = 0
  #itemBytes = 0
  #over = false

  private constructor({ call, account, load, hand }: Admission, hold: Hold, chunkBytes: number) {
    this.#account = account
    this.#hold = hold
    this.#windowMin = windowMin(chunkBytes)
    this.#grant = (credit) => call.grant(credit)
    this.#load = load
    this.#hand = hand
  }

  /** Waits until there is memory for an upload of chunks of this size. Rejects with the signal's reason. */
  static async admit(upload: Admission, chunkBytes: number, signal: AbortSignal): Promise<UploadMemory> {
    const bytes = UPLOAD_BYTES - UPLOAD_WINDOW_BYTES_MIN + windowMin(chunkBytes)
    const { call, account, hand } = upload
    const admitted = account.admit(bytes, AbortSignal.any([call.signal, signal]))
    return new UploadMemory(upload, await (hand?.during(admitted) ?? admitted), chunkBytes)
  }

  /** Grants the first credit: nothing may arrive before. */
  open(): void {
    this.#window = this.#windowMin
    this.#grant(this.#window)
  }

  /** Notes that a message with so much credit was read. */
  read(bytes: number): void {
    this.#busy += bytes
    this.#inHand++
    this.#hand?.take()
  }

  /**
   * Notes that the gateway works on so much, and waits for nobody else: before that a message may wait until the agent takes
   * answers, which must not keep other agents waiting.
   */
  work(bytes: number): void {
    this.#working += bytes
    this.#load.take(bytes)
  }

  /** Notes that a message with so much credit takes no memory any more, and how much of it was worked on. */
  done(bytes: number, worked = 0): void {
    // what was under way at the end is free since then
    if (this.#over) return
    this.#inHand--
    this.#hand?.give()
    this.#busy -= bytes
    this.#working -= worked
    this.#done += bytes
    if (this.#busy === 0 || this.#done >= this.#window * GRANT_SHARE) this.#load.hold(this)
    this.#load.give(worked)
  }

  grant(): number {
    const overfed = this.#busy > this.#windowMin || this.#account.pressed
    const spare = overfed ? Math.min(this.#done, this.#window - this.#windowMin) : 0
    this.#window -= spare
    this.#hold.shrink(spare)
    const credit = this.#done - spare + (spare > 0 ? 0 : this.#more())
    this.#done = 0
    if (credit > 0) this.#grant(credit)
    return credit
  }

  /** Reserves room for so many runs and ids beyond those that every upload may have; false where there is none. */
  items(count: number): boolean {
    const bytes = Math.ceil((count * ITEM_BYTES) / ITEMS_STEP_BYTES) * ITEMS_STEP_BYTES
    const more = bytes - this.#itemBytes
    if (more > 0 && !this.#hold.grow(more)) return false
    if (more < 0) this.#hold.shrink(-more)
    this.#itemBytes = bytes
    return true
  }

  /** Runs work of the gateway's that the agent waits for. */
  during<R>(work: Promise<R>): Promise<R> {
    return this.#hand?.during(work) ?? work
  }

  [Symbol.dispose](): void {
    if (this.#over) return
    this.#over = true
    this.#load.leave(this)
    this.#load.give(this.#working)
    for (; this.#inHand > 0; this.#inHand--) this.#hand?.give()
    this.#hold[Symbol.dispose]()
  }

  /** How much the window grows now. */
  #more(): number {
    if (this.#inHand > HUNGRY_MESSAGES || !this.#load.hungry) return 0
    const bytes = Math.max(0, Math.min(CHUNK_WINDOW_BYTES - this.#window, this.#window))
    if (bytes === 0 || this.#account.pressed || !this.#hold.grow(bytes)) return 0
    this.#window += bytes
    return bytes
  }
}
