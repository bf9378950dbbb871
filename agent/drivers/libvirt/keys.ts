// The keys of a [[machine]] that this driver is given.

import * as v from 'valibot'
import { asVarveError } from '../../../protocol/errors.ts'
import { parseLibvirtUri } from '../../libvirt/uri.ts'
import type { Machine } from '../driver.ts'

/** The libvirt that a domain is looked for in, unless `uri` says otherwise. */
export const URI_DEFAULT = 'qemu:///system'

/** Why a uri cannot be used; null for one that can. */
const uriFault = (uri: string): string | null => {
  try {
    parseLibvirtUri(uri)
    return null
  } catch (error) {
    return asVarveError(error).message
  }
}

const libvirtUri = v.pipe(
  v.string(),
  v.check(
    (uri) => uriFault(uri) === null,
    ({ input }) => uriFault(input) ?? 'a libvirt uri',
  ),
)

export const keys = {
  /** Name or uuid of the domain. */
  domain: v.pipe(v.string(), v.minLength(1), v.maxLength(255), v.regex(/^[^/\n]+$/u, 'the name or uuid of a domain')),
  uri: v.optional(libvirtUri, URI_DEFAULT),
}

const keysSchema = v.object(keys)

export type LibvirtKeys = Readonly<v.InferOutput<typeof keysSchema>>

/** A machine's keys as this driver's. */
export const keysOf = ({ keys: own }: Pick<Machine, 'keys'>): LibvirtKeys => v.parse(keysSchema, own)

const UUID = /^[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}$/i

/** Whether a domain is named by its uuid. */
export const isUuid = (domain: string): boolean => UUID.test(domain)

export const addressOf = (own: Machine['keys']): string => {
  const { domain, uri } = keysOf({ keys: own })
  return `${uri} ${isUuid(domain) ? domain.toLowerCase() : domain}`
}
