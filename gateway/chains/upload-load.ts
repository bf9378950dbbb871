// What a gateway works on for all uploads together: whether it waits for agents, or they for it.

const MIB = 1024 * 1024

/** Bytes in hand up to which the gateway is about to wait for agents, so that more should be on its way. */
export const HUNGRY_BYTES = 4 * MIB

/** Bytes in hand past which the gateway is the slower one, so that what came on top would only take memory. */
export const FULL_BYTES = 16 * MIB

/** An upload whose credit is held back. */
export interface HeldBack {
  /** Grants what it has to grant; so many bytes. */
  grant(): number
}

/** Credit that is held back goes out one upload at a time, each for something that is done with, so that it cannot rush in. */
export class UploadLoad {
  /** In the order in which they were held back. */
  readonly #held = new Set<HeldBack>()
  #bytes = 0

  /** The gateway is about to wait for agents. */
  get hungry(): boolean {
    return this.#bytes <= HUNGRY_BYTES
  }

  /** More than can be worked on soon is here. */
  get full(): boolean {
    return this.#bytes > FULL_BYTES
  }

  take(bytes: number): void {
    this.#bytes += bytes
  }

  /** So many bytes are done with, or will not be. */
  give(bytes: number): void {
    this.#bytes -= bytes
    if (this.full) return
    // where nothing is here, nothing will be done with either: whoever is silent must not keep the others waiting
    const most = this.#bytes === 0 ? Number.POSITIVE_INFINITY : this.hungry ? FULL_BYTES : 1
    let granted = 0
    for (const upload of this.#held) {
      this.#held.delete(upload)
      granted += upload.grant()
      if (granted >= most) return
    }
  }

  /** Lets an upload wait until less is in hand. */
  hold(upload: HeldBack): void {
    this.#held.add(upload)
  }

  /** The upload has ended. */
  leave(upload: HeldBack): void {
    this.#held.delete(upload)
  }
}
