// Probes what listens at a gateway's address, untrusted and sending nothing secret: TLS or not, certificates, clock.
import { request as requestHttp, type IncomingMessage } from 'node:http'
import { request as requestHttps } from 'node:https'
import { TLSSocket, type DetailedPeerCertificate } from 'node:tls'

/** How long a probe may take, in milliseconds. */
const LOOK_LIMIT_MS = 3000

/** Most certificates of a chain that are read. */
const CHAIN_MAX = 8

/** The dates of one certificate, in milliseconds since 1970. */
export interface Dates {
  readonly subject: string
  readonly fromMs: number
  readonly toMs: number
}

export interface Sight {
  /** It answered in HTTP. */
  readonly http: boolean
  /** Its clock, in milliseconds since 1970. */
  readonly nowMs: number | null
  /** The certificates it shows, its own first; none without TLS. */
  readonly chain: readonly Dates[]
}

/** The dates of a certificate and of those that signed it. */
export const datesOf = (certificate: DetailedPeerCertificate): Dates[] => {
  const dates: Dates[] = []
  let next: DetailedPeerCertificate | undefined = certificate
  while (next?.valid_to !== undefined && dates.length < CHAIN_MAX) {
    const subject = String(next.subject.CN ?? next.subjectaltname ?? '')
    dates.push({ subject, fromMs: Date.parse(next.valid_from), toMs: Date.parse(next.valid_to) })
    next = next.issuerCertificate === next ? undefined : next.issuerCertificate
  }
  return dates
}

const clockOf = ({ headers: { date } }: IncomingMessage): number | null => {
  const ms = date === undefined ? Number.NaN : Date.parse(date)
  return Number.isNaN(ms) ? null : ms
}

/** Probes with TLS or without; null without an answer. Nothing that is received is trusted, and nothing secret is sent. */
export const look = (gateway: string, tls: boolean): Promise<Sight | null> =>
  new Promise((resolve) => {
    const { host } = new URL(gateway)
    const url = new URL(`${tls ? 'https' : 'http'}://${host}/healthz`)
    const options = { agent: false as const, timeout: LOOK_LIMIT_MS, signal: AbortSignal.timeout(LOOK_LIMIT_MS) }
    let chain: Dates[] = []
    let shook = false
    // an answer that cannot be read as HTTP still came over TLS, where that was asked for
    const settle = (response: IncomingMessage | null): void => {
      request.destroy()
      const seen = response !== null || shook
      resolve(seen ? { http: response !== null, nowMs: response === null ? null : clockOf(response), chain } : null)
    }
    const request = tls
      ? requestHttps(url, { ...options, rejectUnauthorized: false }, settle)
      : requestHttp(url, options, settle)
    request.on('socket', (socket) => {
      if (!(socket instanceof TLSSocket)) return
      socket.once('secureConnect', () => {
        shook = true
        chain = datesOf(socket.getPeerCertificate(true))
      })
    })
    request.on('timeout', () => settle(null))
    request.on('error', () => settle(null))
    request.end()
  })
