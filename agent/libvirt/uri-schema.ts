// The uri of a libvirt in a configuration.
import * as v from 'valibot'
import { asVarveError } from '../../protocol/errors.ts'
import { parseLibvirtUri } from './uri.ts'

/** The libvirt that is meant where no uri is given. */
export const URI_DEFAULT = 'qemu:///system'

/** Why a uri cannot be used; null for one that can. */
const faultOf = (uri: string): string | null => {
  try {
    parseLibvirtUri(uri)
    return null
  } catch (error) {
    return asVarveError(error).message
  }
}

export const libvirtUri = v.pipe(
  v.string(),
  v.check(
    (uri) => faultOf(uri) === null,
    ({ input }) => faultOf(input) ?? 'a libvirt uri',
  ),
)
