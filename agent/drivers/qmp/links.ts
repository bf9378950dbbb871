// The one QMP connection of each machine of this process.

import { QmpLink } from '../../qmp/link.ts'

export class QmpLinks implements AsyncDisposable {
  readonly #links = new Map<string, QmpLink>()

  /** The link to a socket, made where there is none: a machine removed from the configuration can hold a lease too. */
  of(qmpPath: string): QmpLink {
    const link = this.#links.get(qmpPath) ?? new QmpLink({ path: qmpPath })
    this.#links.set(qmpPath, link)
    return link
  }

  /** Ends a link; the next use makes another one. */
  close(qmpPath: string): void {
    void this.#links.get(qmpPath)?.close()
    this.#links.delete(qmpPath)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const link of this.#links.values()) await link.close()
  }
}
