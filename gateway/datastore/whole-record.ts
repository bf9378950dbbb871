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
import { decodedView } from '../../protocol/host/chunk-steps.ts'

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
   * The index entry for the record of this id at this place; null where its content has another id. DATA_DAMAGED, NOT_FOUND,
   * STORE_FAILED.
   */
  async read(id: Uint8Array, pack: string, offset: number): Promise<RestoredRecord | null> {
    const { codec, plainLength, storedLength, stored, type } = await this.#packs.record(pack, offset, id)
    const plain = decodedView(codec, stored, plainLength)
    if (!equalBytes(keyedHash(this.#keys[type], plain), id)) return null
    return { id, type, pack, offset, codec, plainLength, storedLength }
  }
}
