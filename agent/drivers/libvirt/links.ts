// The one connection to each libvirt of this process.

import { LibvirtLink } from '../../libvirt/link.ts'

export class LibvirtLinks implements AsyncDisposable {
  readonly #links = new Map<string, LibvirtLink>()

  /** The link to a libvirt, made where there is none: a machine removed from the configuration can hold a lease too. */
  of(uri: string): LibvirtLink {
    const link = this.#links.get(uri) ?? new LibvirtLink({ uri })
    this.#links.set(uri, link)
    return link
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const link of this.#links.values()) await link.close()
  }
}
