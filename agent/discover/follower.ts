// Watches the domains of a libvirt for [discover]: by its events, and by a look now and then.
import { asVarveError } from '../../protocol/errors.ts'
import type { Log } from '../../protocol/host/log.ts'
import type { Clock } from '../../protocol/peer.ts'
import type { LinkState } from '../lasting-link.ts'
import { LibvirtLink } from '../libvirt/link.ts'
import type { LibvirtCaller, LibvirtDomain, LibvirtEvent } from '../libvirt/types.ts'

/** How often the domains are listed without an event, in milliseconds. */
const LOOK_INTERVAL_MS = 60_000

/** How long after an event the domains are listed, in milliseconds: events come in groups. */
const SETTLE_MS = 200

/** Events after which there is one domain more or less. */
const CHANGES: ReadonlySet<string> = new Set(['defined', 'undefined', 'started', 'stopped'])

/** What is needed of a link to libvirt. */
export interface FollowedLink {
  start(): void
  client(): Promise<Pick<LibvirtCaller, 'listAllDomains'>>
  subscribe(listener: (event: LibvirtEvent) => void): () => void
  onState(listener: (state: LinkState) => void): () => void
  close(): Promise<void>
}

export interface FollowerOptions {
  /** Called with all domains whenever they are other ones than before; not while libvirt is away. */
  readonly onDomains: (domains: readonly LibvirtDomain[]) => void
  readonly clock: Clock
  readonly log: Log
  readonly open?: (uri: string) => FollowedLink
}

const textOf = (domains: readonly LibvirtDomain[]): string =>
  JSON.stringify(domains.map(({ name, uuid }) => `${name} ${uuid}`).toSorted())

/** Follows one libvirt at a time. */
export class Follower implements AsyncDisposable {
  readonly #options: FollowerOptions
  #uri: string | null = null
  #link: FollowedLink | null = null
  #told: string | null = null
  /** Why the domains are not known now, as it was logged. */
  #away: string | null = null
  #stopTimer: () => void = () => {}
  #looking = false
  /** Something happened during a look. */
  #again = false
  #closing: Promise<unknown> = Promise.resolve()
  #first = Promise.withResolvers<void>()

  constructor(options: FollowerOptions) {
    this.#options = options
  }

  /** Resolves once the domains have been listed, or could not be; at once where none are followed. */
  get looked(): Promise<void> {
    return this.#uri === null ? Promise.resolve() : this.#first.promise
  }

  /** Follows this libvirt from now on, or none; true if it is another one than before. */
  follow(uri: string | null): boolean {
    if (uri === this.#uri) return false
    this.#stopTimer()
    const old = this.#link
    this.#closing = Promise.all([this.#closing, old?.close()])
    this.#uri = uri
    this.#told = null
    this.#looking = false
    this.#away = null
    this.#link = null
    if (uri !== null) this.#begin(uri)
    return true
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.follow(null)
    await this.#closing
  }

  #begin(uri: string): void {
    const { open = (one) => new LibvirtLink({ uri: one }) } = this.#options
    const link = open(uri)
    this.#link = link
    link.subscribe((event) => {
      if (event.kind === 'lifecycle' && CHANGES.has(event.event)) this.#soon(link, SETTLE_MS)
    })
    link.onState((state) => {
      if (state === 'up') this.#soon(link, 0)
    })
    link.start()
    void this.#look(link)
  }

  #soon(link: FollowedLink, delayMs: number): void {
    if (link !== this.#link) return
    if (this.#looking) {
      this.#again = true
      return
    }
    this.#stopTimer()
    this.#stopTimer = this.#options.clock.after(delayMs, () => void this.#look(link))
  }

  async #look(link: FollowedLink): Promise<void> {
    const { log, onDomains } = this.#options
    this.#looking = true
    this.#again = false
    try {
      const domains = await (await link.client()).listAllDomains()
      if (link !== this.#link) return
      if (this.#away !== null) log.info({ libvirt: this.#uri }, 'libvirt is back')
      this.#away = null
      const text = textOf(domains)
      if (text !== this.#told) onDomains(domains)
      this.#told = text
    } catch (thrown) {
      if (link !== this.#link) return
      // what was taken up stays: its domains are there still
      const { message } = asVarveError(thrown)
      if (message !== this.#away)
        log.warn({ libvirt: this.#uri, reason: message }, 'the domains for [discover] cannot be listed; trying again')
      this.#away = message
    }
    this.#looking = false
    this.#first.resolve()
    this.#soon(link, this.#again ? SETTLE_MS : LOOK_INTERVAL_MS)
  }
}
