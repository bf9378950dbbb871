// The keys of a [[machine]] that this driver is given.

import * as v from 'valibot'
import { libvirtUri, URI_DEFAULT } from '../../libvirt/uri-schema.ts'
import type { Machine } from '../driver.ts'

export const keys = {
  /** Name or uuid of the domain. */
  domain: v.pipe(v.string(), v.minLength(1), v.maxLength(255), v.regex(/^[^/\n]+$/u, 'the name or uuid of a domain')),
  uri: v.optional(libvirtUri, URI_DEFAULT),
  /** As of other machines; libvirt's own backups write to files and block devices only. */
  mode: v.optional(v.literal('pull', '"pull": libvirt cannot have QEMU write to the agent')),
}

const keysSchema = v.object(keys)

export type LibvirtKeys = Readonly<v.InferOutput<typeof keysSchema>>

/** A machine's keys as this driver's. */
export const keysOf = ({ keys: own }: Pick<Machine, 'keys'>): LibvirtKeys => v.parse(keysSchema, own)

const UUID = /^[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}$/i

/** Whether a domain is named by its uuid. */
export const isUuid = (domain: string): boolean => UUID.test(domain)

/** A uuid as libvirt writes it: lower case with dashes; any other text as it is. */
export const uuidText = (domain: string): string =>
  isUuid(domain)
    ? domain
        .toLowerCase()
        .replaceAll('-', '')
        .replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
    : domain

export const addressOf = (own: Machine['keys']): string => {
  const { domain, uri } = keysOf({ keys: own })
  return `${uri} ${uuidText(domain)}`
}
