// Checks a gateway's address: a WebSocket's, encrypted unless it stays on this host.
import { isIP } from 'node:net'
import { nearest } from '../nearest.ts'

const EXAMPLE = '"wss://backup.example:8470"'
const SCHEMES = ['wss', 'ws'] as const
/** Schemes that people write instead of a WebSocket's. */
const OTHER_SCHEMES: Readonly<Record<string, string>> = { http: 'ws', https: 'wss' }

const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '[::1]' || (isIP(host) === 4 && host.startsWith('127.'))

/** What is wrong with the text before `://`; null where nothing is. */
const schemeFault = (text: string): string | null => {
  const [, scheme, rest] = /^([a-z][a-z0-9+.-]*):\/\/(.*)$/isu.exec(text) ?? []
  if (scheme === undefined) return `must be an address such as ${EXAMPLE}; it does not begin with wss://`
  const lower = scheme.toLowerCase()
  if ((SCHEMES as readonly string[]).includes(lower)) return null
  const meant = OTHER_SCHEMES[lower] ?? nearest(lower, SCHEMES)
  // the rest may hold a password
  const shown = meant === null || rest!.includes('@') ? EXAMPLE : `"${meant}://${rest}"`
  return `${scheme}:// is not a WebSocket address: use ${shown}`
}

/** How the sentences go on for who reads them. */
export interface AddressWords {
  readonly plain: string
  readonly person: string
}

const OF_THE_AGENT: AddressWords = {
  plain: ', or set insecure = true to send data in the clear',
  person: 'this host is known by its key, which "varve-agent enrol" makes',
}

/** Why a text is not a gateway's address, as the end of a sentence; null where it is one. `insecure` allows it in the clear. */
export const addressFault = (text: string, insecure: boolean, words = OF_THE_AGENT): string | null => {
  const fault = schemeFault(text)
  if (fault !== null) return fault
  if (!URL.canParse(text)) return `must be an address such as ${EXAMPLE}; check host and port (at most 65535)`
  const { protocol, hostname, username, password, pathname, search, hash } = new URL(text)
  if (username !== '' || password !== '') return `must hold no user and no password: ${words.person}`
  if (pathname !== '/' || search !== '' || hash !== '')
    return `must end after host and port, as in ${EXAMPLE}; leave "${`${pathname}${search}${hash}`.slice(0, 40)}" out`
  if (protocol === 'ws:' && !isLoopback(hostname) && !insecure)
    return `"${text}" is not encrypted; use wss://${words.plain}`
  return null
}
