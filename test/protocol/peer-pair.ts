// Two peers joined in memory: each sees the other's frames in order and never within its own call.
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { decodeFrame, encodeFrame, type Frame } from '../../protocol/frames.ts'
import { Peer, type Handlers, type Transport } from '../../protocol/peer.ts'
import { HandClock } from '../support/hand-clock.ts'

/** One direction of the connection. */
export class Wire implements Transport {
  /** Frames in the order they were sent, also those still held. */
  readonly sent: Frame[] = []
  bufferedBytes = 0
  /** The error that this side closed its socket with. */
  closedWith: VarveError | null = null
  /** Frames wait in the wire until `release`. */
  #held = false
  readonly #waiting: Uint8Array[] = []
  #deliver: (bytes: Uint8Array) => void = () => {}
  #onClose: (error: VarveError) => void = () => {}

  connect(deliver: (bytes: Uint8Array) => void, onClose: (error: VarveError) => void): void {
    this.#deliver = deliver
    this.#onClose = onClose
  }

  send(bytes: Uint8Array): void {
    // what a socket takes is copied by the kernel
    const copy = new Uint8Array(bytes)
    this.sent.push(decodeFrame(copy))
    if (this.#held) this.#waiting.push(copy)
    else queueMicrotask(() => this.#deliver(copy))
  }

  close(error: VarveError): void {
    this.closedWith = error
    queueMicrotask(() => this.#onClose(new VarveError('CONNECTION_LOST', 'the other side closed')))
  }

  hold(): void {
    this.#held = true
  }

  release(): void {
    this.#held = false
    for (const bytes of this.#waiting.splice(0)) queueMicrotask(() => this.#deliver(bytes))
  }

  /** What was sent of one frame type. */
  ofType<T extends Frame[0]>(type: T): Extract<Frame, [T, ...unknown[]]>[] {
    return this.sent.filter((frame): frame is Extract<Frame, [T, ...unknown[]]> => frame[0] === type)
  }
}

export interface PeerPair {
  readonly opener: Peer
  readonly other: Peer
  readonly clock: HandClock
  /** What the opener sends. */
  readonly fromOpener: Wire
  /** What the other side sends. */
  readonly fromOther: Wire
}

export const peerPair = (handlers: { opener?: Handlers; other?: Handlers } = {}): PeerPair => {
  const clock = new HandClock(1_000_000)
  const fromOpener = new Wire()
  const fromOther = new Wire()
  const opener = new Peer({ opener: true, transport: fromOpener, handlers: handlers.opener ?? {}, clock })
  const other = new Peer({ opener: false, transport: fromOther, handlers: handlers.other ?? {}, clock })
  fromOpener.connect(
    (bytes) => other.receive(bytes),
    (error) => other.transportClosed(error),
  )
  fromOther.connect(
    (bytes) => opener.receive(bytes),
    (error) => opener.transportClosed(error),
  )
  return { opener, other, clock, fromOpener, fromOther }
}

/** A peer whose other side is the test itself, which feeds it frames as they come. */
export const lonePeer = (handlers: Handlers = {}, opener = false) => {
  const clock = new HandClock(1_000_000)
  const wire = new Wire()
  const peer = new Peer({ opener, transport: wire, handlers, clock })
  return { peer, clock, wire, feed: (...frame: Frame) => peer.receive(encodeFrame(frame)) }
}

/** Lets everything that is on its way arrive. */
export const arrived = async (): Promise<void> => {
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve))
}

/** The code of what `work` fails with; `none` when it does not. */
export const codeOf = async (work: Promise<unknown> | (() => unknown)): Promise<string> => {
  try {
    await (typeof work === 'function' ? work() : work)
    return 'none'
  } catch (thrown) {
    return asVarveError(thrown).code
  }
}

/** The code that `work` throws at once. */
export const codeThrown = (work: () => unknown): string => {
  try {
    work()
    return 'none'
  } catch (thrown) {
    return thrown instanceof VarveError ? thrown.code : `not a VarveError: ${String(thrown)}`
  }
}
