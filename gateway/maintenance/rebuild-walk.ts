// Walks the trees of all restore points after a rebuild: which nodes and chunks they name that the packs do not have. No chunk is
// read.
import { chunkCount, equalBytes } from '../../protocol/chunk.ts'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { decodeNode, nodeKey, rootLevel, type TreeNode } from '../../protocol/image-tree.ts'
import { damageOf, MISSING } from '../packs/damage.ts'
import { ownBytes } from '../../protocol/host/bytes.ts'
import type { BuiltTenant, CatalogBuilder } from '../catalog/sqlite/catalog-builder.ts'
import type { Catalog } from '../catalog/catalog.ts'
import { Fingerprints } from '../trees/fingerprints.ts'
import { RECORD, type RecordType } from '../packs/format.ts'
import type { Packs } from '../packs/pack-store.ts'
import { keyedHash } from '../../protocol/host/keyed-hash.ts'
import { checkFetched, RecordReader, type FetchedRecord } from '../packs/record-reader.ts'
import type { RebuildReport } from './rebuild-report.ts'

/** What is remembered of a subtree. */
const WHOLE = 1
const BROKEN = 2

interface ImageRow {
  readonly point: string
  readonly machine: string
  readonly timeMs: number
  readonly disk: string
  readonly size: number
  readonly root: Uint8Array | null
}

export class PointWalk {
  readonly #tenant: BuiltTenant
  readonly #builder: CatalogBuilder
  readonly #reader: RecordReader
  readonly #report: RebuildReport
  readonly #signal: AbortSignal
  readonly #nowMs: number
  readonly #nodeKey: Uint8Array
  /** Subtrees that were walked: restore points share most of theirs. */
  readonly #walked = new Fingerprints()

  constructor(options: {
    tenant: BuiltTenant
    builder: CatalogBuilder
    catalog: Catalog
    store: Packs
    report: RebuildReport
    signal: AbortSignal
    nowMs: number
  }) {
    const { tenant, catalog, store } = options
    this.#tenant = tenant
    this.#builder = options.builder
    this.#report = options.report
    this.#signal = options.signal
    this.#nowMs = options.nowMs
    this.#reader = new RecordReader({ tenant, index: catalog.chunks, store })
    this.#nodeKey = nodeKey(keyedHash, tenant.idKey)
  }

  /** Walks every restore point of the tenant; what is absent becomes damage, and what it touches is in the report. */
  async run(onPoint: () => void): Promise<void> {
    const { sql } = this.#builder
    const points = sql.all<{ id: string; manifest: Uint8Array }>(
      'SELECT id, manifest FROM point WHERE tenant = ? ORDER BY time_ms, id',
      this.#tenant.row,
    )
    for (const { id, manifest } of points) {
      if (this.#builder.typeOf(this.#tenant, manifest) !== RECORD.manifest) this.#missing(manifest, RECORD.manifest)
      const images = sql.all<ImageRow>(
        `SELECT point.id AS point, machine.name AS machine, point.time_ms AS timeMs, disk, size, root
         FROM image JOIN point ON point.id = image.point JOIN machine ON machine.id = point.machine
         WHERE point.id = ? ORDER BY ordinal`,
        id,
      )
      const broken: ImageRow[] = []
      for (const image of images) if (await this.#isBroken(image)) broken.push(image)
      const [first] = broken
      if (first !== undefined) {
        const { point, machine, timeMs } = first
        const disks = broken.map(({ disk }) => disk)
        this.#report.unusable.add(point)
        this.#report.incompletePoints.add({ tenant: this.#tenant.name, point, machine, timeMs, disks })
      }
      onPoint()
    }
  }

  async #isBroken({ root, size }: ImageRow): Promise<boolean> {
    if (root === null) return false
    return this.#anyBroken([root], rootLevel(chunkCount(size, this.#tenant.chunkBytes)))
  }

  /** Whether anything is absent at or below these nodes of one level: at most the children of one node. */
  async #anyBroken(ids: readonly Uint8Array[], level: number): Promise<boolean> {
    this.#signal.throwIfAborted()
    let broken = ids.some((id) => this.#walked.get(id) === BROKEN)
    const fresh = ids.filter((id) => !this.#walked.has(id))
    if (fresh.length === 0) return broken
    for (const [index, fetched] of (await this.#reader.fetch(fresh)).entries()) {
      const id = fresh[index]!
      const node = this.#nodeOf(id, fetched, level)
      const children = node?.children.filter((child) => child !== null) ?? []
      const bad = node === null || (await this.#childrenBroken(children, level))
      this.#walked.set(id, bad ? BROKEN : WHOLE)
      broken ||= bad
    }
    return broken
  }

  async #childrenBroken(children: readonly Uint8Array[], level: number): Promise<boolean> {
    if (level > 0) return this.#anyBroken(children, level - 1)
    let broken = false
    for (const child of children) {
      if (this.#builder.typeOf(this.#tenant, child) === RECORD.chunk) continue
      this.#missing(child, RECORD.chunk)
      broken = true
    }
    return broken
  }

  /** The node that was read, or null where it is absent or bad: then it is damage. */
  #nodeOf(id: Uint8Array, fetched: FetchedRecord | VarveError, level: number): TreeNode | null {
    try {
      if (fetched instanceof VarveError) throw fetched
      const record = checkFetched(fetched)
      if (record.type !== RECORD.node || !equalBytes(keyedHash(this.#nodeKey, record.stored), id))
        throw new VarveError('DATA_DAMAGED', 'it is not the tree node that its id names')
      const node = decodeNode(ownBytes(record.stored))
      if (node.level !== level) throw new VarveError('DATA_DAMAGED', 'it is a tree node of another level')
      return node
    } catch (thrown) {
      const error = asVarveError(thrown)
      if (error.code !== 'DATA_DAMAGED') throw error
      const place = damageOf(error)?.place ?? (fetched instanceof VarveError ? null : fetched.location)
      this.#missing(id, RECORD.node, place, error.message)
      return null
    }
  }

  #missing(
    id: Uint8Array,
    type: RecordType,
    place: { readonly pack: string; readonly offset: number } | null = null,
    reason = MISSING,
  ): void {
    const { pack, offset } = place ?? { pack: null, offset: null }
    const added = this.#builder.addDamage(this.#tenant, {
      id: ownBytes(id),
      type,
      pack,
      offset,
      reason: place === null ? MISSING : reason,
      foundMs: this.#nowMs,
    })
    if (added) this.#report.missingRecords++
  }
}
