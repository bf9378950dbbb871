// Walks the trees of all restore points after a rebuild: which nodes and chunks they name that the packs do not have. No chunk is
// read.
import { chunkCount } from '../../protocol/chunk.ts'
import { VarveError } from '../../protocol/errors.ts'
import { rootLevel, type TreeNode } from '../../protocol/image-tree.ts'
import { ownBytes } from '../../protocol/host/bytes.ts'
import { damageOf, MISSING } from '../packs/damage.ts'
import type { BuiltTenant, CatalogBuilder } from '../catalog/sqlite/catalog-builder.ts'
import type { Catalog } from '../catalog/catalog.ts'
import { Fingerprints } from '../trees/fingerprints.ts'
import { NodeReader, type ReadNodes } from '../trees/node-reader.ts'
import { walk, wholeTree } from '../trees/walk.ts'
import { RECORD, type RecordType } from '../packs/format.ts'
import type { Packs } from '../packs/pack-store.ts'
import { RecordReader } from '../packs/record-reader.ts'
import type { RebuildReport } from './rebuild-report.ts'

/** What is remembered of a subtree at or below which something is absent. */
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
    this.#nodes = new NodeReader({ tenant, records: new RecordReader({ tenant, index: catalog.records, store }) })
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
    const level = rootLevel(chunkCount(size, this.#tenant.chunkBytes))
    const enter = (id: Uint8Array): boolean => this.#walked.add(id)
    for await (const { id, node } of walk(wholeTree(root), level, { read: this.#read, enter }))
      if (this.#isNodeBroken(id, node)) this.#walked.set(id, BROKEN)
    return this.#walked.get(root) === BROKEN
  }

  readonly #read: ReadNodes = (ids, level) => {
    this.#signal.throwIfAborted()
    return this.#nodes.fresh(ids, level)
  }

  /** Whether it is, or anything below it is; all of that was walked before. */
  #isNodeBroken(id: Uint8Array, node: TreeNode | VarveError): boolean {
    if (node instanceof VarveError) {
      const { place = null, reason } = damageOf(node) ?? {}
      this.#missing(id, RECORD.node, place, reason)
      return true
    }
    let broken = false
    for (const child of node.children) {
      if (child === null) continue
      if (node.level > 0) broken ||= this.#walked.get(child) === BROKEN
      else if (this.#builder.typeOf(this.#tenant, child) !== RECORD.chunk) {
        this.#missing(child, RECORD.chunk)
        broken = true
      }
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
