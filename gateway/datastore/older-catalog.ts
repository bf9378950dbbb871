// Detects a catalog that is older than its packs: an old copy put back would treat everything later as garbage.
import type { Tenant } from '../catalog/tenants.ts'
import { equalBytes } from '../../protocol/chunk.ts'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import type { Catalog } from '../catalog/catalog.ts'
import { olderText } from '../catalog/older-catalog.ts'
import { parseRecord, RECORD } from '../packs/format.ts'
import { decodeManifest, manifestKey } from '../catalog/manifest.ts'
import { keyedHash } from '../../protocol/host/keyed-hash.ts'
import { readPackHeader, scanPack, type PackRecord } from '../packs/pack-scan.ts'
import type { PackName, Packs } from '../packs/pack-store.ts'
import { decodeState } from '../catalog/state-record.ts'
import { decode } from '../../protocol/host/chunk-steps.ts'

/** Bytes of a pack that the catalog does not know of. */
export interface UnknownBytes {
  readonly name: PackName
  /** Where they begin; null for all of a pack. */
  readonly from: number | null
  /** True where the catalog knows the pack to its end: then it may hold a restore point that was removed before a rebuild. */
  readonly known?: boolean
}

interface Options {
  readonly store: Packs
  readonly catalog: Catalog
}

const older = (what: string): VarveError => new VarveError('CATALOG_MISSING', olderText(what))

/** What of such a record the catalog should know; null where it has nothing new. */
const newsOf = async (
  record: PackRecord,
  tenant: Tenant,
  { catalog, known: isKnown }: Options & { readonly known: boolean },
): Promise<string | null> => {
  const { type, codec, parts } = record.header
  const { id, plainLength } = parts[0]!
  if (type !== RECORD.manifest && type !== RECORD.state) return null
  const plain = decode(codec, parseRecord(record.bytes, 0).stored, plainLength)
  const newest = await catalog.states.seq({ tenant: tenant.id })
  if (type === RECORD.state) {
    const { seq } = decodeState(plain, id)
    return seq > newest ? `state ${seq} of tenant ${tenant.name}` : null
  }
  if (!equalBytes(keyedHash(manifestKey(tenant.idKey), plain), id)) return null
  const { point, state } = decodeManifest(plain)
  if (isKnown && state < newest) return null
  const [known] = await catalog.checks.jobs({ tenant: tenant.id, jobs: [point] })
  return known === 1 ? null : `restore point ${point}`
}

/**
 * Throws CATALOG_MISSING where bytes that the catalog does not know of hold a state or a restore point that it does not know, or
 * belong to a tenant that it does not know: all of these reach the catalog before the packs, so no crash explains that. Reads
 * only packs of nodes, and only their unknown bytes.
 */
export const refuseOlderCatalog = async (options: Options, unknown: readonly UnknownBytes[]): Promise<void> => {
  const { store, catalog } = options
  for (const { name, from, known = false } of unknown) {
    const tenant = await catalog.tenants.byId({ id: name.tenant })
    try {
      const { kind } = await readPackHeader(store, name)
      if (tenant === null) throw older(`among which are some of a tenant that it does not know (${name.tenant})`)
      if (kind !== 'nodes') continue
    } catch (thrown) {
      const { code } = asVarveError(thrown)
      if (code === 'DATA_DAMAGED' || code === 'STORE_VERSION' || code === 'NOT_FOUND') continue
      throw thrown
    }
    for await (const record of scanPack(store, name, { ...(from === null ? {} : { from }), skipUnreadable: true })) {
      if (!('header' in record)) continue
      const news = await newsOf(record, tenant, { ...options, known }).catch((thrown: unknown) => {
        // what cannot be read proves nothing
        if (asVarveError(thrown).code === 'DATA_DAMAGED') return null
        throw thrown
      })
      if (news !== null) throw older(`which hold ${news}`)
    }
  }
}
