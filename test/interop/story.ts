// What happened in a random history, for the message of a check that failed.

export class Story {
  readonly #lines: string[] = []

  tell(line: string): void {
    this.#lines.push(line)
  }

  /** Runs a history; an error becomes one that says `what`, such as "the history of seed 7 breaks a promise", and tells it. */
  async during<R>(what: string, work: () => Promise<R>, now: () => string | null = () => null): Promise<R> {
    try {
      return await work()
    } catch (cause) {
      const story = this.#lines.map((line, index) => `  ${index + 1}. ${line}`)
      const last = now()
      throw new Error([`${what} after`, ...story, ...(last === null ? [] : [last]), String(cause)].join('\n'), {
        cause,
      })
    }
  }
}
