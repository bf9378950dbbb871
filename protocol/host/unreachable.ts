// Messages for a gateway that cannot be reached, with what to do where that is known.
import type { PeerCertificate } from 'node:tls'
import { VarveError } from '../errors.ts'
import { durationText } from './duration.ts'
import { look, type Sight } from './probe.ts'

/** Error codes of Node and the system, and what to do about them; the first match counts. */
const WAYS_OUT: readonly (readonly [code: RegExp, way: string])[] = [
  [/^ECONNREFUSED$/u, 'nothing listens there: does the gateway run, and are address and port right?'],
  [/^(?:ENOTFOUND|EAI_AGAIN|EAI_NODATA)$/u, 'its name cannot be resolved: check the name and the name server'],
  [/^(?:ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|EHOSTDOWN)$/u, 'no answer from there: check the network and firewalls'],
  [/^(?:ECONNRESET|ECONNABORTED|EPIPE)$/u, 'the connection was reset: try again'],
  [/^EMFILE$|^ENFILE$|^ENOBUFS$|^EADDRNOTAVAIL$/u, 'this host cannot open more connections: try again later'],
  [
    /^(?:EPROTO|ERR_SSL_.*)$/u,
    'what listens there does not speak a TLS that this host understands: is it wss:// or ws://?',
  ],
  [/^HPE_/u, 'what listens there is not a gateway: check address and port, and whether it is wss:// or ws://'],
]

/** The same for failures that have a message and no code. */
const WAYS_OF_WORDS: readonly (readonly [words: RegExp, way: string])[] = [
  [
    /timed out|no answer in time/u,
    'it accepts the connection and does not answer: is it the gateway, and does it hang?',
  ],
  [
    /subprotocol|Sec-WebSocket|Upgrade header/iu,
    'what answers there is not a gateway of this protocol: check address and port, and what a proxy in front of it passes on',
  ],
]

/** Node's error codes for an untrusted certificate. */
const CERTIFICATE_ERROR = /CERT|SIGNATURE|SELF_SIGNED|ISSUER|HOSTNAME_MISMATCH|^INVALID_(?:CA|PURPOSE)/u
const DATE_ERROR = /^CERT_(?:HAS_EXPIRED|NOT_YET_VALID)$/u
const NAME_ERROR = /^(?:ERR_TLS_CERT_ALTNAME_INVALID|HOSTNAME_MISMATCH)$/u
/** Error codes of TLS to a plain port, or the other way round. */
const KIND_ERROR = /^(?:ECONNRESET|EPROTO|EPIPE|HPE_.*|ERR_SSL_.*)$/u

/** Clocks that differ by less are not reported, in milliseconds. */
export const CLOCKS_APART_MS = 30_000

/** What whoever reads the sentence calls what can be set. */
export interface Words {
  readonly gateway: string
  readonly ca: string
  /** How an address in the clear is allowed. */
  readonly plain: string
}

/** In the agent's configuration. */
export const CONFIGURED: Words = {
  gateway: '"gateway"',
  ca: '"ca"',
  plain: 'to another host only with insecure = true',
}

/** OpenSSL's messages have several lines. */
const firstLine = (text: string): string => text.trim().split('\n', 1)[0] ?? ''

/** `lasting`: a retry cannot help until a person has changed something. */
const lost = (message: string, cause: unknown, lasting: boolean): VarveError =>
  new VarveError('CONNECTION_LOST', message, { cause, details: lasting ? { lasting } : {} })

const iso = (ms: number): string => new Date(ms).toISOString().replace('.000', '')

/** How this host's clock differs from the gateway's; null where it does not by CLOCKS_APART_MS. */
export const clocksApart = (gatewayMs: number | null, nowMs: number): string | null => {
  if (gatewayMs === null || Math.abs(nowMs - gatewayMs) < CLOCKS_APART_MS) return null
  return `this host's clock is ${durationText(Math.abs(nowMs - gatewayMs))} ${nowMs > gatewayMs ? 'ahead of' : 'behind'} the gateway's`
}

/** Names the gateway's own certificate, one that signed it, or the trusted one where none of those shown is wrong. */
const whoseDates = ({ gateway, sight, words }: Tried, wrong: number): string => {
  const own = `the certificate of ${gateway}`
  if (sight === null || wrong === 0) return own
  const signer = wrong < 0 ? `(the one in ${words.ca})` : `"${sight.chain[wrong]!.subject}"`
  return `the authority ${signer} that signed ${own}`
}

/** Which certificate has expired or is not valid yet, and which clock may be wrong. */
const dates = (tried: Tried, code: string): string => {
  const { sight, nowMs } = tried
  const wrong = sight?.chain.findIndex(({ fromMs, toMs }) => nowMs < fromMs || nowMs > toMs) ?? -1
  const certificate = wrong < 0 ? undefined : sight!.chain[wrong]
  const whose = whoseDates(tried, wrong)
  const expired = code === 'CERT_HAS_EXPIRED'
  const when = certificate === undefined ? '' : ` ${iso(expired ? certificate.toMs : certificate.fromMs)}`
  const state = expired
    ? `has expired${when === '' ? '' : `, at${when}`}`
    : `is not valid yet${when === '' ? '' : `, only from${when} on`}`
  const gatewayMs = sight?.nowMs ?? null
  const apart = clocksApart(gatewayMs, nowMs)
  const clocks = `it is ${iso(nowMs)} by this host's clock${gatewayMs === null ? '' : ` and ${iso(gatewayMs)} by the gateway's`}`
  const way = apart === null ? 'renew it at the gateway, or set the clocks right' : `${apart}: set the clocks right`
  return `${whose} ${state} (${code}); ${clocks}: ${way}`
}

/** The names of a certificate, and what to do where the address is another one. */
const names = ({ gateway, words }: Tried, code: string, error: Error): string => {
  const shown = (error as Error & { readonly cert?: PeerCertificate }).cert?.subjectaltname
  const { hostname } = new URL(gateway)
  const which =
    shown === undefined || shown === '' ? 'names no host' : `is for ${shown.replaceAll('IP Address:', 'IP:')}`
  return `the certificate of ${gateway} ${which}, not for ${hostname} (${code}): give ${words.gateway} an address that it names, or the gateway a certificate that names ${hostname}`
}

const untrusted = ({ gateway, hasCa, words: { ca } }: Tried, code: string): string => {
  const start = `the certificate of ${gateway} is not trusted (${code})`
  if (hasCa && code === 'DEPTH_ZERO_SELF_SIGNED_CERT')
    return `${start}: it is self-signed and not the one in ${ca}; if it was renewed, copy it from the gateway again`
  if (hasCa) return `${start}: the authority in ${ca} did not sign it; set it to the one that did`
  return code === 'DEPTH_ZERO_SELF_SIGNED_CERT'
    ? `${start}: it is self-signed; set ${ca} to a copy of it from the gateway`
    : `${start}: the authority that signed it is unknown to this host; set ${ca} to that authority's certificate, or give the gateway the full chain`
}

/** CONNECTION_LOST for an HTTP answer that is not a gateway's, by its status and redirect. */
export const notOurs = (gateway: string, status: number | undefined, location?: string): VarveError => {
  const answered = `${gateway} answered HTTP ${status}`
  const says = (what: string, lasting = true): VarveError => lost(`${answered}${what}`, undefined, lasting)
  if (status !== undefined && status >= 502 && status <= 504)
    return says(': a proxy there does not reach its gateway; is the gateway running?', false)
  if (location !== undefined)
    return says(` and redirects to ${location.slice(0, 200)}: if the gateway is there, give that address`)
  if (status === 401 || status === 407)
    return says(": a proxy there asks for a password; let it pass the gateway's paths")
  return says(', which no gateway does: check address and port, and what a proxy in front of it passes on')
}

export interface Tried {
  readonly gateway: string
  /** Whether "ca" is set. */
  readonly hasCa: boolean
  /** The result of a probe afterwards. */
  readonly sight: Sight | null
  readonly nowMs: number
  readonly words: Words
}

/** CONNECTION_LOST with the cause. */
export const unreachable = (tried: Tried, error: NodeJS.ErrnoException): VarveError => {
  const { gateway, sight, words } = tried
  const code = error.code ?? ''
  if (DATE_ERROR.test(code)) return lost(dates(tried, code), error, true)
  if (NAME_ERROR.test(code)) return lost(names(tried, code, error), error, true)
  // Node's own message names Node's options
  if (CERTIFICATE_ERROR.test(code)) return lost(untrusted(tried, code), error, true)
  if (KIND_ERROR.test(code) && sight !== null) {
    const other = gateway.startsWith('wss:')
      ? `what listens there does not speak TLS: use ws:// (${words.plain}), or serve it with a certificate`
      : 'what listens there speaks TLS: use wss://'
    return lost(`cannot reach ${gateway}: ${other} (${code})`, error, true)
  }
  const way =
    WAYS_OUT.find(([pattern]) => pattern.test(code))?.[1] ??
    WAYS_OF_WORDS.find(([pattern]) => pattern.test(error.message))?.[1]
  const said = code === '' ? firstLine(error.message) : code
  const lasting = WAYS_OF_WORDS.slice(1).some(([pattern]) => pattern.test(error.message))
  const why = way === undefined ? firstLine(error.message) : `${way} (${said})`
  return lost(`cannot reach ${gateway}: ${why}`, error, lasting)
}

/** The same, after a probe where that shows what is wrong. */
export const explained = async (
  { gateway, hasCa, words = CONFIGURED }: Pick<Tried, 'gateway' | 'hasCa'> & { readonly words?: Words },
  error: NodeJS.ErrnoException,
): Promise<VarveError> => {
  const code = error.code ?? ''
  const tls = gateway.startsWith('wss:')
  let sight: Sight | null = null
  if (DATE_ERROR.test(code)) sight = await look(gateway, true)
  else if (KIND_ERROR.test(code)) sight = await look(gateway, !tls)
  return unreachable({ gateway, hasCa, sight, nowMs: Date.now(), words }, error)
}
