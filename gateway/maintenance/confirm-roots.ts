// Compares the images of the catalog with the manifests in the packs, before anything counts as dead because the catalog lacks
// it.
import { CATALOG_WAY_OUT, type CatalogRoots, type ImageRoot } from '../catalog/collection.ts'
import { equalBytes, hex } from '../../protocol/chunk.ts'
import { plainLengthOf } from '../../protocol/chunk-list.ts'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { RECORD } from '../packs/format.ts'
import { decodeManifest, manifestKey, type Manifest } from '../catalog/manifest.ts'
import { keyedHash } from '../../protocol/host/keyed-hash.ts'
import { checkFetched, type FetchedRecord } from '../packs/record-reader.ts'
import { decode } from '../../protocol/host/chunk-steps.ts'
import type { MaintenanceContext } from './context.ts'

/** Manifests that are read at once. */
const BATCH_MANIFESTS = 64

const disagree = (point: string): VarveError =>
  new VarveError(
    'CATALOG_DAMAGED',
    `the catalog contradicts the manifest of restore point ${point} in the packs, so nothing was removed: ${CATALOG_WAY_OUT}`,
    { details: { point } },
  )

/** The manifest; null for an unreadable one, whose content the catalog has. */
const manifestIn = (key: Uint8Array, fetched: FetchedRecord | VarveError, point: string): Manifest | null => {
  if (fetched instanceof VarveError) return null
  try {
    const { type, codec, stored, parts } = checkFetched(fetched)
    if (type !== RECORD.manifest) throw disagree(point)
    const plain = decode(codec, stored, plainLengthOf(parts))
    return equalBytes(keyedHash(key, plain), fetched.id) ? decodeManifest(plain) : null
  } catch (thrown) {
    const error = asVarveError(thrown)
    if (error.code !== 'DATA_DAMAGED') throw error
    return null
  }
}

const agrees = (manifest: Manifest, point: string, images: readonly ImageRoot[]): boolean => {
  const named = [...manifest.disks, ...manifest.attachments]
  return (
    manifest.point === point &&
    named.length === images.length &&
    named.every(({ name, size, root }, index) => {
      const image = images[index]!
      return image.disk === name && image.size === size && (image.root && hex(image.root)) === root
    })
  )
}

/** CATALOG_DAMAGED where a restore point's images, their sizes or their roots are not those of its manifest; STORE_FAILED. */
export const confirmRoots = async (
  { datastore, tenant, signal }: MaintenanceContext,
  { images, manifests }: CatalogRoots,
): Promise<void> => {
  const store = datastore.tenantStore(tenant)
  const key = manifestKey(tenant.idKey)
  const byPoint = Map.groupBy(images, ({ point }) => point)
  for (let from = 0; from < manifests.length; from += BATCH_MANIFESTS) {
    signal.throwIfAborted()
    const some = manifests.slice(from, from + BATCH_MANIFESTS)
    for (const [index, fetched] of (await store.fetch(some.map(({ id }) => id))).entries()) {
      const { point } = some[index]!
      const manifest = manifestIn(key, fetched, point)
      if (manifest !== null && !agrees(manifest, point, byPoint.get(point) ?? [])) throw disagree(point)
    }
  }
}
