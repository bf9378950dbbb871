// The words for a gateway that cannot be reached, with what to do where that is known.
import { VarveError } from '../../protocol/errors.ts'

/** What Node says of a certificate that is not to be trusted. */
const CERTIFICATE_ERROR = /CERT|SIGNATURE|SELF_SIGNED|ISSUER|HOSTNAME_MISMATCH/u

/** CONNECTION_LOST with the cause. */
export const unreachable = (gateway: string, error: NodeJS.ErrnoException): VarveError => {
  const message = CERTIFICATE_ERROR.test(error.code ?? '')
    ? // Node's own sentence speaks of its own options
      `the certificate of ${gateway} is not trusted (${error.code}): set "ca" in the configuration, or check the address`
    : `cannot reach ${gateway}: ${error.message}`
  return new VarveError('CONNECTION_LOST', message, { cause: error })
}
