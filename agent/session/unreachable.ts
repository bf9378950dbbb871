// The words for a gateway that cannot be reached, with what to do where that is known.
import { VarveError } from '../../protocol/errors.ts'

/** What Node and the system call a failure, and what to do about it; the first that fits counts. */
const WAYS_OUT: readonly (readonly [code: RegExp, way: string])[] = [
  [/^ECONNREFUSED$/u, 'nothing listens there: does the gateway run, and are address and port right?'],
  [/^(?:ENOTFOUND|EAI_AGAIN|EAI_NODATA)$/u, 'its name has no address now: check the name and the name server'],
  [/^(?:ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|EHOSTDOWN)$/u, 'no answer came from there: check the network and firewalls'],
  [/^(?:ECONNRESET|ECONNABORTED|EPIPE)$/u, 'the connection was broken off there: try again'],
  [/^EMFILE$|^ENFILE$|^ENOBUFS$|^EADDRNOTAVAIL$/u, 'this host has no connection left to give: try again later'],
  [/^(?:EPROTO|ERR_SSL_.*)$/u, 'what listens there speaks no TLS that this host understands: is it wss:// or ws://?'],
  [
    /^HPE_/u,
    'what listens there does not answer as a gateway: check address and port, and whether it is wss:// or ws://',
  ],
]

/** What Node says of a certificate that is not to be trusted. */
const CERTIFICATE_ERROR = /CERT|SIGNATURE|SELF_SIGNED|ISSUER|HOSTNAME_MISMATCH/u

/** OpenSSL's sentences go on for lines. */
const firstLine = (text: string): string => text.trim().split('\n', 1)[0] ?? ''

/** CONNECTION_LOST with the cause. */
export const unreachable = (gateway: string, error: NodeJS.ErrnoException): VarveError => {
  const code = error.code ?? ''
  const way = WAYS_OUT.find(([pattern]) => pattern.test(code))?.[1]
  // Node's own sentence speaks of its own options
  const message = CERTIFICATE_ERROR.test(code)
    ? `the certificate of ${gateway} is not trusted (${code}): set "ca" in the configuration, or check the address`
    : `cannot reach ${gateway}: ${way === undefined ? firstLine(error.message) : `${way} (${code})`}`
  return new VarveError('CONNECTION_LOST', message, { cause: error })
}
