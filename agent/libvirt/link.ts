// The long-lived connection to a host's libvirt, which reconnects.
import { VarveError } from '../../protocol/errors.ts'
import { LastingLink, type LinkState, type LinkTiming } from '../lasting-link.ts'
import { LIBVIRT_CONNECT_LIMIT_MS, LibvirtConnection } from './connection.ts'
import type { LibvirtEvent } from './types.ts'

export type LibvirtLinkState = LinkState

export interface LibvirtLinkOptions extends LinkTiming {
  readonly uri: string
  /** How long one attempt may take, in milliseconds. */
  readonly timeoutMs?: number
  /** How often the daemon is asked for a sign of life, in milliseconds. */
  readonly pingEveryMs?: number
}

/** The one connection to a libvirt; its client fails as LibvirtConnection.open does, mostly with LIBVIRT_UNAVAILABLE. */
export class LibvirtLink extends LastingLink<LibvirtConnection, LibvirtEvent> {
  readonly uri: string

  constructor({ uri, timeoutMs = LIBVIRT_CONNECT_LIMIT_MS, pingEveryMs, ...timing }: LibvirtLinkOptions) {
    const pings = pingEveryMs === undefined ? {} : { pingEveryMs }
    super({
      ...timing,
      connect: () => LibvirtConnection.open({ uri, timeoutMs, ...pings }),
      closedError: () => new VarveError('LIBVIRT_UNAVAILABLE', `the link to libvirt at ${uri} is closed`),
    })
    this.uri = uri
  }
}
