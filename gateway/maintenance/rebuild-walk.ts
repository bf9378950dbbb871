// Walks the trees of all restore points after a rebuild: which nodes and chunks they name that the packs do not have. No chunk is read.
import { chunkCount } from '../../protocol/chunk.ts'
import { VarveError } from '../../protocol/errors.ts'
import { rootLevel } from '../../protocol/image-tree.ts'
import { ownBytes } from '../datastore/bytes.ts'
import { damageOf, MISSING } from '../datastore/damage.ts'
import type { BuiltTenant, CatalogBuilder } from '../datastore/database/catalog-builder.ts'
import type { Database } from '../datastore/database/database.ts'
import { Fingerprints } from '../datastore/fingerprints.ts'
import { RECORD, type RecordType } from '../datastore/format.ts'
import { NodeReader } from '../datastore/node-reader.ts'
import type { PackStore } from '../datastore/pack-store.ts'
import { RecordReader } from '../datastore/record-reader.ts'
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
  readonly #nodes: NodeReader
  readonly #report: RebuildReport
  readonly #signal: AbortSignal
  readonly #nowMs: number
  /** Subtrees that were walked: restore points share most of theirs. */
  readonly #walked = new Fingerprints()

  constructor(options: {
    tenant: BuiltTenant
    builder: CatalogBuilder
    database: Database
    store: PackStore
    report: RebuildReport
    signal: AbortSignal
    nowMs: number
  }) {
    const { tenant, database, store } = options
    this.#tenant = tenant
    this.#builder = options.builder
    this.#report = options.report
    this.#signal = options.signal
    this.#nowMs = options.nowMs
    this.#nodes = new NodeReader(new RecordReader({ tenant, database, store }), tenant.idKey)
  }

  /** Walks every restore point of the tenant; what is absent becomes damage, and what it touches is in the report. */
  async run(onPoint: () => void): Promise<void> {
    const { sql } = this.#builder
    const points = sql.all<{ id: string; manifest: Uint8Array }>(
      'SELECT id, manifest FROM point WHERE tenant = ? ORDER BY time_ms, id',
      this.#tenant.id,
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
    for (const [index, node] of (await this.#nodes.read(fresh, level)).entries()) {
      const id = fresh[index]!
      let bad = true
      if (node instanceof VarveError) {
        const damage = damageOf(node)
        this.#missing(id, RECORD.node, damage?.place ?? null, damage?.reason)
      } else {
        const children = node.children.filter((child) => child !== null)
        bad = await this.#childrenBroken(children, level)
      }
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
