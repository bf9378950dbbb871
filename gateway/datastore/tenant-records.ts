// Writes what the packs must hold besides images so that the catalog can be built from them again: manifests and the tenant's
// state.
import type { Tenant } from '../catalog/tenants.ts'
import type { RecordCommit, NewRecord } from '../catalog/records.ts'
import { CODEC, type Codec } from '../../protocol/chunk.ts'
import { VarveError } from '../../protocol/errors.ts'
import { joinIds } from '../../protocol/host/bytes.ts'
import type { Catalog } from '../catalog/catalog.ts'
import { failpoint } from '../common/failpoint.ts'
import { RECORD, RECORD_PLAIN_BYTES_MAX, recordBytes, writeRecord, type RecordType } from '../packs/format.ts'
import { encodeManifest, manifestKey, type ManifestContent } from '../catalog/manifest.ts'
import { keyedHash } from '../../protocol/host/keyed-hash.ts'
import { Queue } from '../../protocol/host/limiter.ts'
import type { PackPool } from '../packs/pack-pool.ts'
import type { PackBallast } from '../packs/pack-store.ts'
import { PackWriter } from '../packs/pack-writer.ts'
import type { References } from '../coordination/coordination.ts'
import { encodeState } from '../catalog/state-record.ts'

/** A manifest in the packs, protected from collections until it is disposed of. */
export interface KeptManifest extends Disposable {
  readonly id: Uint8Array
}

interface PlainRecord {
  readonly id: Uint8Array
  readonly codec: Codec
  readonly plainLength: number
  readonly stored: Uint8Array
}

export class TenantRecords {
  readonly #tenant: Tenant
  readonly #catalog: Catalog
  readonly #pool: PackPool
  readonly #ballast: PackBallast
  readonly #references: References
  readonly #nowMs: () => number
  readonly #states = new Queue()
  /** The next write of the state, not begun yet, which concurrent callers share. */
  #nextState: Promise<void> | null = null

  constructor(options: {
    tenant: Tenant
    catalog: Catalog
    pool: PackPool
    ballast: PackBallast
    references: References
    nowMs: () => number
  }) {
    this.#tenant = options.tenant
    this.#catalog = options.catalog
    this.#pool = options.pool
    this.#ballast = options.ballast
    this.#references = options.references
    this.#nowMs = options.nowMs
  }

  /**
   * Writes a restore point's manifest, and before it the tenant's state where that changed; durable when it returns. STORE_FULL,
   * STORE_FAILED.
   */
  async writeManifest(content: ManifestContent): Promise<KeptManifest> {
    await this.writeState()
    const tenant = this.#tenant.id
    const state = await this.#catalog.states.seq({ tenant })
    const stored = encodeManifest({ ...content, tenant: this.#tenant.id, state })
    if (stored.length > RECORD_PLAIN_BYTES_MAX)
      throw new VarveError('PARAMS_INVALID', `a manifest has at most ${RECORD_PLAIN_BYTES_MAX} bytes`)
    const id = keyedHash(manifestKey(this.#tenant.idKey), stored)
    using stack = new DisposableStack()
    stack.use(await this.#hold([id]))
    failpoint('manifest.write')
    const record = { id, codec: CODEC.raw, plainLength: stored.length, stored }
    await this.#write(RECORD.manifest, [record], (commit) => this.#catalog.records.commit(commit))
    failpoint('manifest.written')
    const held = stack.move()
    return { id, [Symbol.dispose]: () => held.dispose() }
  }

  /**
   * Writes the tenant's state where it changed since it was last written; durable when it returns. One at a time; concurrent
   * callers share the next write. STORE_FULL, STORE_FAILED.
   */
  writeState(): Promise<void> {
    this.#nextState ??= this.#states.run(async () => {
      // from here on a change may miss this write
      this.#nextState = null
      const state = await this.#catalog.states.begin({ tenant: this.#tenant.id, nowMs: this.#nowMs() })
      if (state === null) return
      const records = encodeState(state)
      using _held = await this.#hold(records.map(({ id }) => id))
      failpoint('state.write')
      await this.#write(RECORD.state, records, (commit) => this.#catalog.states.commit(commit))
    })
    return this.#nextState
  }

  async #hold(ids: readonly Uint8Array[]): Promise<Disposable> {
    const held = this.#references.hold({ ids: () => ids })
    await this.#references.touch(ids)
    return held
  }

  /** On a full disk it uses the ballast and a new pack; the pack of the failed append is sealed. */
  #write(
    type: RecordType,
    records: readonly PlainRecord[],
    commit: (commit: RecordCommit) => Promise<unknown>,
  ): Promise<void> {
    const bytes = records.reduce((sum, { stored }) => sum + recordBytes(stored.length), 0)
    return this.#ballast.drawing(bytes, () => this.#tryWrite(type, records, commit))
  }

  async #tryWrite(
    type: RecordType,
    records: readonly PlainRecord[],
    commit: (commit: RecordCommit) => Promise<unknown>,
  ): Promise<void> {
    await using writer = new PackWriter({ pool: this.#pool, tenant: this.#tenant, kind: 'nodes' })
    const placed: NewRecord[] = []
    for (const { id, codec, plainLength, stored } of records) {
      const bytes = Buffer.alloc(recordBytes(stored.length))
      writeRecord(bytes, 0, { type, codec, parts: [{ id, plainLength }] }, stored)
      const place = await writer.append(bytes)
      placed.push({ ...place, type, codec, plainLength, storedLength: stored.length, parts: 1, place: 0 })
    }
    const checkpoint = writer.checkpoint()
    await writer.sync(checkpoint)
    await commit({
      tenant: this.#tenant.id,
      machine: null,
      ids: joinIds(records.map(({ id }) => id)),
      records: placed,
      packs: checkpoint.packs.map(({ held, bytes, sealed }) => ({ id: held.id, bytes, sealed })),
      upload: null,
      progress: null,
    })
    await writer.acknowledged(checkpoint)
  }
}
