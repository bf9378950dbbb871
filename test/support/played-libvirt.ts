// A libvirt that a test plays, for who follows its domains.
import type { FollowedLink } from '../../agent/discover/follower.ts'
import type { LinkState } from '../../agent/lasting-link.ts'
import type { LibvirtDomain, LibvirtEvent } from '../../agent/libvirt/types.ts'
import { VarveError } from '../../protocol/errors.ts'

export class PlayedLibvirt implements FollowedLink {
  domains: readonly string[] = []
  away = false
  lists = 0
  closed = false
  /** A listing waits for this. */
  gate: Promise<void> = Promise.resolve()
  #events: (event: LibvirtEvent) => void = () => {}
  #states: (state: LinkState) => void = () => {}

  start(): void {}

  client(): ReturnType<FollowedLink['client']> {
    if (this.away) return Promise.reject(new VarveError('LIBVIRT_UNAVAILABLE', 'libvirt is away'))
    return Promise.resolve({
      listAllDomains: async () => {
        this.lists++
        const found = this.domains.map((name): LibvirtDomain => ({ name, uuid: name, id: null }))
        await this.gate
        return found
      },
    })
  }

  subscribe(listener: (event: LibvirtEvent) => void): () => void {
    this.#events = listener
    return () => {}
  }

  onState(listener: (state: LinkState) => void): () => void {
    this.#states = listener
    return () => {}
  }

  close(): Promise<void> {
    this.closed = true
    return Promise.resolve()
  }

  happens(event: 'defined' | 'undefined' | 'resumed'): void {
    const domain = { name: 'x', uuid: 'x', id: null }
    this.#events({ kind: 'lifecycle', domain, event, detail: 'booted' })
  }

  comesBack(): void {
    this.away = false
    this.#states('up')
  }
}
