// The one QMP connection of each machine of this process.

import { QmpLink } from '../../qmp/link.ts'

export class QmpLinks implements AsyncDisposable {
  readonly #links = new Map<string, QmpLink>()

  /** The link to a socket, made where there is none: also a machine that left the configuration can hold a lease. */
  of(qmpPath: string): QmpLink {
    const link = this.#links.get(qmpPath) ?? new QmpLink({ path: qmpPath })
    this.#links.set(qmpPath, link)
    return link
  }

  /** Ends a link; who needs it again has another one made. */
  close(qmpPath: string): void {
    void this.#links.get(qmpPath)?.close()
    this.#links.delete(qmpPath)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const link of this.#links.values()) await link.close()
  }
}
