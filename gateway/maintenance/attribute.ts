// Finds out which disks of which restore points known damage touches, and where: one walk over all trees, each shared subtree
// once.
import type { DiskRoot, PointRoots } from '../catalog/points.ts'
import type { Tenant } from '../catalog/tenants.ts'
import type { LostRow } from '../catalog/damage.ts'
import { chunkCount } from '../../protocol/chunk.ts'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { childSpan, rootLevel, type Ref, type TreeNode } from '../../protocol/image-tree.ts'
import { damageOf } from '../packs/damage.ts'
import { joinIds } from '../../protocol/host/bytes.ts'
import { Fingerprints } from '../trees/fingerprints.ts'
import type { ReadNodes } from '../trees/node-reader.ts'
import { childrenOf, walk, wholeTree } from '../trees/walk.ts'
import type { TenantStore } from '../datastore/tenant-store.ts'
import type { MaintenanceContext } from './context.ts'

/** Damaged records of one page of the catalog. */
const DAMAGE_PAGE_ROWS = 4096

/** Lost ranges that are staged together. */
const STAGE_ROWS = 4096

/** What is known of a damaged record: that it is damaged, and that some restore point needs it. */
const KNOWN = 1
const MET = 2

/** What is known of a subtree with damage in it; one that is whole is known as 1. */
const DAMAGED = 2

export type AttributionContext = Pick<MaintenanceContext, 'datastore' | 'tenant' | 'signal'> &
  Partial<Pick<MaintenanceContext, 'onProgress'>>

/** Protects the trees of a restore point and returns them, if it still exists. */
export const withPoint = async (
  { datastore, tenant }: Pick<MaintenanceContext, 'datastore' | 'tenant'>,
  id: string,
): Promise<{ readonly point: PointRoots; readonly held: Disposable } | null> => {
  const find = (): Promise<PointRoots | null> => datastore.catalog.points.roots({ tenant: tenant.id, point: id })
  const before = await find()
  if (before === null) return null
  const { references } = datastore.tenantStore(tenant)
  using stack = new DisposableStack()
  for (const { root, size } of before.images)
    stack.use(references.hold({ tree: { root, chunks: chunkCount(size, tenant.chunkBytes) } }))
  stack.use(references.hold({ ids: () => [before.manifest] }))
  // a collection that began before may have removed what a prune released meanwhile
  const point = await find()
  return point === null ? null : { point, held: stack.move() }
}

class Attribution {
  readonly #context: AttributionContext
  readonly #store: TenantStore
  readonly #damage = new Fingerprints()
  readonly #subtrees = new Fingerprints()
  /** The walk does not reach what is below a lost node, although some restore point needs it. */
  #nodesLost = false
  #rows: LostRow[] = []
  #first = true

  constructor(context: AttributionContext) {
    this.#context = context
    this.#store = context.datastore.tenantStore(context.tenant)
  }

  async run(): Promise<void> {
    const { datastore, tenant, signal, onProgress } = this.#context
    const { catalog } = datastore
    for await (const page of this.#pages()) for (const id of page) this.#damage.set(id, KNOWN)
    if (this.#damage.size > 0) {
      const all = { tenant: tenant.id, point: null, machine: null, age: null }
      const points = await catalog.points.toVerify(all)
      for (const [done, id] of points.entries()) {
        signal.throwIfAborted()
        onProgress?.({ phase: 'attribute', done, total: points.length })
        await this.#point(id)
      }
    }
    await this.#stage()
    await catalog.lost.replace({ tenant: tenant.id })
    await this.#settle()
  }

  async *#pages(): AsyncGenerator<Uint8Array[]> {
    const { datastore, tenant } = this.#context
    for (let after: Uint8Array | null = null; ;) {
      const args = { tenant: tenant.id, after, limit: DAMAGE_PAGE_ROWS }
      const page: Uint8Array[] = (await datastore.catalog.damage.page(args)).map(({ key }) => key)
      if (page.length > 0) yield page
      if (page.length < DAMAGE_PAGE_ROWS) return
      after = page.at(-1)!
    }
  }

  async #point(id: string): Promise<void> {
    const found = await withPoint(this.#context, id)
    if (found === null) return
    using _held = found.held
    for (const image of found.point.images) await this.#image(id, image)
  }

  async #image(point: string, { disk, size, root }: DiskRoot): Promise<void> {
    const { chunkBytes } = this.#context.tenant
    const level = rootLevel(chunkCount(size, chunkBytes))
    await this.#look(root, level)
    if (root === null) return
    const lose = (id: Uint8Array, position: number, span: number): void => {
      const offset = position * chunkBytes
      const length = Math.min(span * chunkBytes, size - offset)
      this.#rows.push({ point, disk, offset, length, id: Uint8Array.from(id) })
    }
    const enter = (id: Uint8Array): boolean => this.#subtrees.get(id) === DAMAGED
    for await (const { id, position, node } of walk(wholeTree(root), level, { read: this.#read, enter })) {
      if (node instanceof VarveError) await this.#meet(id, node)
      else
        for (const child of childrenOf(node, position))
          if (this.#damage.has(child.id)) lose(child.id, child.position, childSpan(node.level))
      if (this.#rows.length >= STAGE_ROWS) await this.#stage()
    }
    if (this.#damage.has(root)) lose(root, 0, childSpan(level + 1))
  }

  /** Finds out in which subtrees of a tree there is damage; subtrees that were looked at before are known. */
  async #look(root: Ref, level: number): Promise<void> {
    const enter = (id: Uint8Array): boolean => !this.#isLost(id) && this.#subtrees.add(id)
    for await (const { id, node } of walk(wholeTree(root), level, { read: this.#read, enter })) {
      if (node instanceof VarveError) await this.#meet(id, node)
      else if (this.#isDamaged(node)) this.#subtrees.set(id, DAMAGED)
    }
  }

  readonly #read: ReadNodes = (ids, level) => {
    this.#context.signal.throwIfAborted()
    return this.#store.nodes.fresh(ids, level)
  }

  /** Whether a node that a restore point needs is damaged. */
  #isLost(id: Uint8Array): boolean {
    if (!this.#damage.has(id)) return false
    this.#damage.set(id, MET)
    this.#nodesLost = true
    return true
  }

  /** Whether there is damage below a good node, all of whose children were looked at. */
  #isDamaged({ level, children }: TreeNode): boolean {
    let damaged = false
    for (const id of children) {
      if (id === null) continue
      const isDamage = this.#damage.has(id)
      if (isDamage) this.#damage.set(id, MET)
      damaged ||= isDamage || (level > 0 && this.#subtrees.get(id) === DAMAGED)
    }
    return damaged
  }

  /** An unreadable node is damage that was not known before. */
  async #meet(id: Uint8Array, error: VarveError): Promise<void> {
    const damage = damageOf(error)
    if (damage !== null) await this.#store.quarantine.enter([damage], { quiet: true })
    this.#damage.set(id, MET)
    this.#nodesLost = true
  }

  async #stage(): Promise<void> {
    const { datastore, tenant } = this.#context
    const rows = this.#rows
    this.#rows = []
    if (rows.length === 0 && !this.#first) return
    await datastore.catalog.lost.stage({ tenant: tenant.id, first: this.#first, rows })
    this.#first = false
  }

  /** Damage that was known when this began and that no restore point needs is forgotten. */
  async #settle(): Promise<void> {
    const { datastore, tenant } = this.#context
    for await (const page of this.#pages()) {
      const ids = joinIds(this.#nodesLost ? [] : page.filter((id) => this.#damage.get(id) === KNOWN))
      await datastore.catalog.damage.settle({ tenant: tenant.id, ids })
    }
  }
}

/** Records what the tenant's known damage leaves unreadable, replacing what was known before; one at a time for each tenant. */
export const attribute = (context: AttributionContext): Promise<void> =>
  context.datastore.tenantStore(context.tenant).quarantine.attributions.run(() => new Attribution(context).run())

/** Attributes damage in the background; findings during one attribution are handled by the next. */
export class Attributions implements AsyncDisposable {
  readonly #context: Omit<AttributionContext, 'tenant' | 'signal'>
  readonly #onError: (error: VarveError, tenant: Tenant) => void
  readonly #stop = new AbortController()
  /** Those that have not begun, by tenant. */
  readonly #waiting = new Map<string, Promise<void>>()
  readonly #ended = new Set<Promise<void>>()

  constructor(
    context: Omit<AttributionContext, 'tenant' | 'signal'>,
    onError: (error: VarveError, tenant: Tenant) => void,
  ) {
    this.#context = context
    this.#onError = onError
  }

  /** Resolves, and never rejects, when an attribution that began after this call has ended. */
  soon(tenant: Tenant): Promise<void> {
    const waiting = this.#waiting.get(tenant.id)
    if (waiting !== undefined) return waiting
    const { datastore } = this.#context
    const work = datastore.tenantStore(tenant).quarantine.attributions.run(async () => {
      this.#waiting.delete(tenant.id)
      try {
        this.#stop.signal.throwIfAborted()
        await new Attribution({ ...this.#context, tenant, signal: this.#stop.signal }).run()
      } catch (thrown) {
        if (!this.#stop.signal.aborted) this.#onError(asVarveError(thrown), tenant)
      }
    })
    this.#waiting.set(tenant.id, work)
    this.#ended.add(work)
    void work.then(() => this.#ended.delete(work))
    return work
  }

  /** Stops running attributions and waits for their end; the next start repeats them. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new VarveError('GOING_AWAY', 'the gateway is stopping'))
    await Promise.all(this.#ended)
  }
}
