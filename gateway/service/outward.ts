// Errors as a peer may see them.
import { VarveError } from '../../protocol/errors.ts'

/** Details of a damaged record that say where it lies: for reports, which only operators see. */
const PLACE_DETAILS: ReadonlySet<string> = new Set(['type', 'pack', 'offset'])

/** The error as a peer may see it: internal causes and places are only logged. */
export const outward = (error: VarveError): VarveError => {
  const { code, message, details } = error
  if (code === 'INTERNAL') return new VarveError('INTERNAL', 'the gateway failed; its log says more')
  if (code !== 'DATA_DAMAGED') return error
  const told = Object.fromEntries(Object.entries(details).filter(([name]) => !PLACE_DETAILS.has(name)))
  return new VarveError(code, message, { details: told, cause: error })
}
