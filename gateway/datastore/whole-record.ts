// Reads a record at a given place and checks all of it, down to the id of its content.
import type { Tenant } from '../catalog/tenants.ts'
import type { RestoredRecord } from '../catalog/damage.ts'
import { equalBytes } from '../../protocol/chunk.ts'
import { nodeKey } from '../../protocol/image-tree.ts'
import { RECORD, type RecordType } from '../packs/format.ts'
import { manifestKey } from '../catalog/manifest.ts'
import { stateKey } from '../catalog/state-record.ts'
import { keyedHash } from '../../protocol/host/keyed-hash.ts'
import type { TenantPacks } from './tenant-packs.ts'
import { plainLengthOf } from '../../protocol/chunk-list.ts'
import { VarveError } from '../../protocol/errors.ts'
import { decodedView, splitParts } from '../../protocol/host/chunk-steps.ts'

export class WholeRecords {
  readonly #packs: TenantPacks
  readonly #keys: Readonly<Record<RecordType, Uint8Array>>

  constructor({ idKey }: Tenant, packs: TenantPacks) {
    this.#packs = packs
    this.#keys = {
      [RECORD.chunk]: idKey,
      [RECORD.node]: nodeKey(keyedHash, idKey),
      [RECORD.manifest]: manifestKey(idKey),
      [RECORD.state]: stateKey(idKey),
    }
  }

  /**
   * The index entry for the part of this id in the record at this place; null where its content has another id. DATA_DAMAGED,
   * NOT_FOUND, STORE_FAILED.
   */
  async read(id: Uint8Array, pack: string, offset: number): Promise<RestoredRecord | null> {
    const { codec, parts, storedLength, stored, type } = await this.#packs.record(pack, offset)
    const place = parts.findIndex((part) => equalBytes(part.id, id))
    if (place < 0) throw new VarveError('DATA_DAMAGED', 'another record is in its place')
    const plain = splitParts(parts, decodedView(codec, stored, plainLengthOf(parts)))[place]!
    if (!equalBytes(keyedHash(this.#keys[type], plain), id)) return null
    return { id, type, pack, offset, codec, plainLength: plain.length, storedLength, parts: parts.length, place }
  }
}
