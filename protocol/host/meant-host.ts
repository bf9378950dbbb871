// Whom the Host header of a request to a loopback listener names.
import { isIP } from 'node:net'

/**
 * Whether the request was meant for a loopback listener: by an address, as localhost, or by no name. A page in a browser of this
 * host, whose name was made to lead here, names that name.
 */
export const isMeantForLoopback = (header: string | undefined): boolean => {
  const host = (header ?? '').replace(/:\d+$/u, '').replace(/^\[(.*)\]$/u, '$1')
  return host === '' || host.toLowerCase() === 'localhost' || isIP(host) !== 0
}
