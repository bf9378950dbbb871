// Work under way at once, of which so much begins as there is room for; the first failure ends it.

export class Tasks {
  readonly #most: number
  readonly #running = new Set<Promise<void>>()
  #failure: { readonly thrown: unknown } | null = null

  constructor(most: number) {
    this.#most = most
  }

  /** Begins work once there is room; throws what any has failed with. */
  async add(work: () => Promise<void>): Promise<void> {
    while (this.#failure === null && this.#running.size >= this.#most) await Promise.race(this.#running)
    this.#check()
    const task: Promise<void> = work()
      .catch((thrown: unknown) => void (this.#failure ??= { thrown }))
      .finally(() => this.#running.delete(task))
    this.#running.add(task)
  }

  /** Waits for all; throws what any has failed with. */
  async done(): Promise<void> {
    await this.settled()
    this.#check()
  }

  /** Resolves when nothing is under way, whatever became of it. */
  async settled(): Promise<void> {
    await Promise.all(this.#running)
  }

  #check(): void {
    if (this.#failure !== null) throw this.#failure.thrown
  }
}
