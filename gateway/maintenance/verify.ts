// Verifies restore points: every chunk's checksum, content and id, every tree node up to the root, every manifest; what is shared
// once.
import type { IndexPage } from '../catalog/collection.ts'
import { availableParallelism } from 'node:os'
import { chunkCount, hex } from '../../protocol/chunk.ts'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { NODE_BYTES_MAX, rootLevel, type Ref } from '../../protocol/image-tree.ts'
import { REPORT_ROWS_MAX, type DamagedRecord, type VerifyReport } from '../../protocol/maintenance.ts'
import type { Params } from '../../protocol/methods.ts'
import { Throttle } from '../../protocol/host/throttle.ts'
import { ownBytes, splitIds } from '../../protocol/host/bytes.ts'
import { DAY_MS } from '../../protocol/host/duration.ts'
import { damageOf, RECORD_TYPE_NAMES, type Damage } from '../packs/damage.ts'
import { Fingerprints } from '../trees/fingerprints.ts'
import type { ReadNodes } from '../trees/node-reader.ts'
import { walk, wholeTree } from '../trees/walk.ts'
import { RECORD, recordBytes, type RecordType } from '../packs/format.ts'
import { unlessFull } from '../common/store-error.ts'
import type { TenantStore } from '../datastore/tenant-store.ts'
import { NICENESS, RecordPool } from '../packs/record-pool.ts'
import { attribute, withPoint } from './attribute.ts'
import { ChunkChecker, WINDOW_IDS } from './chunk-checker.ts'
import type { MaintenanceContext } from './context.ts'
import { recheck } from './recheck.ts'
import { damageOfState } from './state-check.ts'

/** Restore points whose chunks wait to be checked. */
const POINTS_WAITING_MAX = 256

/** Damaged records that are recorded together. */
const QUARANTINE_ROWS = 1024

/** Nodes that are read together where no tree determines them. */
const NODES_AT_ONCE = 64

/** Restore points that one call covers. */
const POINTS_PAGE = 1000

/** Threads that check: one less than cores, so that uploads and restores always find one; these give way besides. */
const threads = (): number => Math.max(1, availableParallelism() - 1)

class Verification {
  readonly #context: MaintenanceContext
  readonly #store: TenantStore
  readonly #checker: ChunkChecker
  readonly #throttle: Throttle
  readonly #total: number | null
  readonly #seen = new Fingerprints()
  #window: Uint8Array[] = []
  /** Walked, not all of their chunks checked yet; their trees are held until then. */
  #waiting: { readonly id: string; readonly held: Disposable }[] = []
  #damages: Damage[] = []
  #nodesDamaged = false
  readonly verified: string[] = []
  readonly damaged: DamagedRecord[] = []
  damagedCount = 0
  nodes = 0
  chunks = 0
  bytes = 0

  constructor(context: MaintenanceContext, pool: RecordPool, throttle: Throttle, total: number | null) {
    this.#context = context
    this.#throttle = throttle
    this.#total = total
    this.#store = context.datastore.tenantStore(context.tenant)
    const { signal } = context
    const onRead = (bytes: number): void => this.#read(bytes)
    this.#checker = new ChunkChecker({ store: this.#store, pool, throttle, signal, onRead })
  }

  /** Verifies these points; `everything` when there are no others. */
  async run(points: readonly string[], everything: boolean): Promise<void> {
    try {
      await this.#packs()
      for (const point of points) await this.#point(point)
      await this.#flush()
      if (this.#nodesDamaged) await this.#hidden(everything)
      await this.#flush()
    } finally {
      for (const { held } of this.#waiting) held[Symbol.dispose]()
      await this.#quarantine()
    }
  }

  /** Records in missing packs are damaged at once, whether a walk reaches them or not. */
  async #packs(): Promise<void> {
    const { datastore, tenant } = this.#context
    const packs = await datastore.catalog.collection.packs({ tenant: tenant.id })
    for (const { id: pack, uuid } of await this.#store.packs.gone(packs))
      for (const { id, type, offset } of await datastore.catalog.collection.rowsOf({
        tenant: tenant.id,
        pack,
      }))
        await this.#found({ id, type, place: { pack: uuid, offset }, reason: 'its pack is gone' })
  }

  /**
   * Checks what no walk reached because it lies below a damaged node: a backup that restores that node would consider the rest
   * good. Chunks only where all points are verified, as the index does not say whose they are.
   */
  async #hidden(chunks: boolean): Promise<void> {
    const { datastore, tenant } = this.#context
    for (let after: Uint8Array | null = null; ;) {
      const page: IndexPage = await datastore.catalog.collection.page({ tenant: tenant.id, after, end: null })
      const ids = splitIds(page.ids)
      if (ids.length === 0) return
      const unseen = (type: RecordType): Uint8Array[] =>
        ids.filter((id, index) => page.types[index] === type && this.#seen.add(id))
      for (const nodes = unseen(RECORD.node); nodes.length > 0;) {
        const some = nodes.splice(0, NODES_AT_ONCE)
        for (const [index, node] of (await this.#store.nodes.fresh(some, null)).entries())
          if (node instanceof VarveError && (await this.#isIndexed(some[index]!))) await this.#found(damageOf(node))
      }
      if (chunks) for (const chunk of unseen(RECORD.chunk)) this.#window.push(ownBytes(chunk))
      if (this.#window.length >= WINDOW_IDS) await this.#flush()
      after = ids.at(-1)!
    }
  }

  /** Garbage may leave the index during the check, which is no damage. */
  async #isIndexed(id: Uint8Array): Promise<boolean> {
    const [location = null] = await this.#store.locate([id])
    return location !== null
  }

  #read(bytes: number): void {
    this.bytes += bytes
    const done = this.#total === null ? this.bytes : Math.min(this.bytes, this.#total)
    this.#context.onProgress({ phase: 'read', done, total: this.#total })
  }

  async #point(id: string): Promise<void> {
    const found = await withPoint(this.#context, id)
    // it was removed meanwhile
    if (found === null) return
    using stack = new DisposableStack()
    stack.use(found.held)
    const { manifest, images } = found.point
    await this.#manifest(id, manifest)
    for (const { root, size } of images)
      await this.#tree(root, rootLevel(chunkCount(size, this.#context.tenant.chunkBytes)))
    const held = stack.move()
    this.#waiting.push({ id, held: { [Symbol.dispose]: () => held.dispose() } })
    if (this.#waiting.length >= POINTS_WAITING_MAX) await this.#flush()
  }

  /** Checks a manifest; a damaged one is written again from the catalog. */
  async #manifest(point: string, id: Uint8Array): Promise<void> {
    const { datastore, tenant } = this.#context
    try {
      const { plain } = await this.#store.readRecord(id)
      this.#read(recordBytes(plain.length))
    } catch (thrown) {
      const error = asVarveError(thrown)
      if (error.code !== 'DATA_DAMAGED') throw error
      await this.#found(damageOf(error, RECORD.manifest))
      // the damaged one leaves the index before the new one comes, which may have the same id
      await this.#quarantine()
      const content = await datastore.catalog.points.manifest({ tenant: tenant.id, point })
      if (content === null) return
      using kept = await this.#store.writeManifest(content)
      const args = { tenant: tenant.id, point, before: id, manifest: kept.id }
      await datastore.catalog.points.setManifest(args)
    }
  }

  /** Checks the records of the tenant's state, which is written again where one is damaged. */
  async state(): Promise<void> {
    const { datastore, tenant } = this.#context
    const damages = await damageOfState(datastore.catalog, this.#store)
    for (const damage of damages) await this.#found(damage)
    if (damages.length > 0) await datastore.catalog.states.spoil({ tenant: tenant.id })
    await this.#store.writeState()
  }

  /** Reads all of a tree that was not seen before. */
  async #tree(root: Ref, level: number): Promise<void> {
    const enter = (id: Uint8Array): boolean => this.#seen.add(id)
    for await (const { node } of walk(wholeTree(root), level, { read: this.#readNodes, enter })) {
      this.nodes++
      if (node instanceof VarveError) {
        await this.#found(damageOf(node))
        continue
      }
      this.#read(recordBytes(node.bytes.length))
      if (node.level > 0) continue
      for (const chunk of node.children) if (chunk !== null && this.#seen.add(chunk)) this.#window.push(ownBytes(chunk))
      if (this.#window.length >= WINDOW_IDS) await this.#flush()
    }
  }

  readonly #readNodes: ReadNodes = async (ids, level) => {
    this.#context.signal.throwIfAborted()
    await this.#throttle.take(ids.length * recordBytes(NODE_BYTES_MAX), this.#context.signal)
    return await this.#store.nodes.fresh(ids, level)
  }

  /** Checks the chunks of the window; the points that were walked whole before are then verified. */
  async #flush(): Promise<void> {
    const { datastore, tenant, clock } = this.#context
    const ids = this.#window
    this.#window = []
    const points = this.#waiting
    this.#waiting = []
    try {
      for (const damage of await this.#checker.check(ids)) await this.#found(damage)
      this.chunks += ids.length
      await this.#quarantine()
      const args = { tenant: tenant.id, points: points.map(({ id }) => id), nowMs: clock.now() }
      await unlessFull(this.#context.log, 'points count as verified', () => datastore.catalog.points.verified(args))
      this.verified.push(...args.points)
    } finally {
      for (const { held } of points) held[Symbol.dispose]()
    }
  }

  async #found(damage: Damage | null): Promise<void> {
    if (damage === null) return
    this.#nodesDamaged ||= damage.type === RECORD.node
    this.#damages.push({ ...damage, id: ownBytes(damage.id) })
    if (this.#damages.length >= QUARANTINE_ROWS) await this.#quarantine()
  }

  async #quarantine(): Promise<void> {
    const found = this.#damages
    this.#damages = []
    const foundMs = this.#context.clock.now()
    for (const { id, type, place, reason } of await this.#store.quarantine.enter(found, { quiet: true })) {
      this.damagedCount++
      if (this.damaged.length >= REPORT_ROWS_MAX) continue
      const { pack = null, offset = null } = place ?? {}
      this.damaged.push({ id: hex(id), type: RECORD_TYPE_NAMES[type], pack, offset, reason, foundMs })
    }
  }
}

/**
 * Verifies what was asked for and finds out what all known damage touches. NOT_FOUND, AMBIGUOUS, STORE_FAILED; what was verified
 * before an error stays so.
 */
export const verifyPoints = async (
  context: MaintenanceContext,
  params: Params<'store.verify'>,
): Promise<VerifyReport> => {
  const { datastore, tenant, clock, log } = context
  const { catalog } = datastore
  const { machine, olderThanDays, bytesPerSecond } = params
  const startedMs = clock.elapsed()
  if (machine !== null) await catalog.machines.get({ tenant: tenant.id, name: machine })
  const found = { tenant: tenant.id, agent: null }
  const point = params.point === null ? null : (await catalog.points.find({ ...found, prefix: params.point })).id
  const nowMs = clock.now()
  const age = olderThanDays === null ? null : { beforeMs: nowMs - olderThanDays * DAY_MS, nowMs }
  const points = await catalog.points.toVerify({ tenant: tenant.id, point, machine, age })
  const everything = point === null && machine === null && age === null
  const total = everything ? await catalog.packs.tenantBytes({ tenant: tenant.id }) : null
  await using pool = new RecordPool(threads(), NICENESS.upkeep)
  const verification = new Verification(context, pool, new Throttle(context.pace ?? bytesPerSecond, clock), total)
  try {
    await recheck(context)
    if (everything) await unlessFull(log, 'the state is written', () => verification.state())
    await verification.run(points, everything)
    if (await catalog.damage.any({ tenant: tenant.id }))
      await unlessFull(log, 'damage is attributed to points', () => attribute(context))
  } catch (error) {
    if (verification.damagedCount > 0) void datastore.tenantStore(tenant).quarantine.attribute()
    throw error
  }
  const { verified, nodes, chunks, bytes, damaged, damagedCount } = verification
  let good = 0
  for (let from = 0; from < verified.length; from += POINTS_PAGE)
    good += await catalog.points.whole({ tenant: tenant.id, points: verified.slice(from, from + POINTS_PAGE) })
  const all = { tenant: tenant.id, point: null, disk: null, limit: REPORT_ROWS_MAX }
  const { lost, lostCount } = await catalog.lost.show(all)
  const durationMs = Math.round(clock.elapsed() - startedMs)
  return { points: verified.length, good, nodes, chunks, bytes, damaged, damagedCount, lost, lostCount, durationMs }
}
