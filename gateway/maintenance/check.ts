// Compares a tenant's packs with index and catalog, and changes nothing: what packs hold that the catalog does not know, and the
// other way round.
import type { PackRow } from '../catalog/packs.ts'
import type { PlacePage } from '../catalog/checks.ts'
import { equalBytes } from '../../protocol/chunk.ts'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { REPORT_ROWS_MAX } from '../../protocol/maintenance.ts'
import type { Params, Result } from '../../protocol/methods.ts'
import { Throttle } from '../../protocol/host/throttle.ts'
import { joinIds } from '../../protocol/host/bytes.ts'
import { parseRecord, RECORD, shareOf } from '../packs/format.ts'
import { decodeManifest, manifestKey } from '../catalog/manifest.ts'
import { keyedHash } from '../../protocol/host/keyed-hash.ts'
import type { PackGap, PackRecord } from '../packs/pack-scan.ts'
import { decodeState, joinParts, type StatePart } from '../catalog/state-record.ts'
import { decode } from '../../protocol/host/chunk-steps.ts'
import type { MaintenanceContext } from './context.ts'

/** Records that are looked up at once. */
const BATCH_RECORDS = 1000

/** Restore points unknown to the catalog that are kept until the newest state is known. */
const STRANGERS_MAX = 100_000

type Report = Result<'store.check'>

interface Stranger {
  readonly point: string
  readonly state: number
}

const count = (counts: Map<number, number>, pack: number): void => void counts.set(pack, (counts.get(pack) ?? 0) + 1)

/**
 * The end of an unacknowledged write that a crash or power loss cut short: a start seals such a pack as it is. It is a problem
 * only where records are missing.
 */
const isTail = ({ state, bytes }: PackRow, { offset, length, problem }: PackGap): boolean =>
  state === 'sealed' && offset + length === bytes && problem !== 'the pack is shorter'

class PackCheck {
  readonly #context: MaintenanceContext
  readonly #throttle: Throttle
  readonly #report: Report = {
    packs: 0,
    records: 0,
    bytes: 0,
    unindexed: { records: 0, bytes: 0 },
    dangling: 0,
    unknownPacks: 0,
    missingPacks: 0,
    unknownPoints: 0,
    problems: [],
    problemCount: 0,
  }
  /** Restore points of the manifests read last. */
  #manifests: Stranger[] = []
  /** Those that the catalog does not know. */
  readonly #strangers: Stranger[] = []
  #strangersCut = false
  /** Parts of the newest state. */
  #state: StatePart[] = []
  #doneBytes = 0

  constructor(context: MaintenanceContext, bytesPerSecond: number | null) {
    this.#context = context
    this.#throttle = new Throttle(bytesPerSecond, context.clock)
  }

  async run(): Promise<Report> {
    const { datastore, tenant } = this.#context
    const files = await this.#files()
    // a pack's row is there before its file, so whatever lay there when the files were listed has one by now
    const rows = (await datastore.catalog.packs.list()).filter((row) => row.tenant === tenant.id)
    await this.#findStrangers(files, new Set(rows.map(({ uuid }) => uuid)))
    const scanned = rows.filter(({ state, bytes }) => state !== 'doomed' && bytes > 0)
    const named = await this.#namedRows(scanned)
    const total = scanned.reduce((sum, { bytes }) => sum + bytes, 0)
    for (const row of scanned) await this.#checkPack(row, named.get(row.id) ?? 0, total)
    await this.#judgePoints()
    return this.#report
  }

  async #files(): Promise<string[]> {
    const files: string[] = []
    for await (const uuid of this.#context.datastore.tenantStore(this.#context.tenant).packs.list()) files.push(uuid)
    return files
  }

  async #findStrangers(files: readonly string[], known: ReadonlySet<string>): Promise<void> {
    const { packs } = this.#context.datastore.tenantStore(this.#context.tenant)
    for (const uuid of files) {
      if (known.has(uuid) || (await packs.size(uuid)) === null) continue
      this.#report.unknownPacks++
      this.#problem(`pack ${uuid} is not in the catalog`)
    }
  }

  /** Rows of the index for each pack, by its handle, as far as they lie in what was acknowledged when the check began. */
  async #namedRows(packs: readonly PackRow[]): Promise<Map<number, number>> {
    const { datastore, tenant, signal, onProgress } = this.#context
    const total = await datastore.catalog.collection.count({ tenant: tenant.id })
    const bytesOf = new Map(packs.map(({ id, bytes }) => [id, bytes]))
    const named = new Map<number, number>()
    const others = new Map<number, number>()
    let done = 0
    let after: Uint8Array | null = null
    do {
      signal.throwIfAborted()
      const page: PlacePage = await datastore.catalog.checks.places({ tenant: tenant.id, after })
      for (const [index, pack] of page.packs.entries()) {
        const bytes = bytesOf.get(pack)
        if (bytes === undefined) count(others, pack)
        else if (page.offsets[index]! < bytes) count(named, pack)
      }
      done += page.packs.length
      onProgress({ phase: 'examine', done, total })
      after = page.last
    } while (after !== null)
    // some were made since, the others do not exist
    for (const { id, state } of await datastore.catalog.packs.list()) if (state !== 'doomed') others.delete(id)
    const nowhere = [...others.values()].reduce((sum, rows) => sum + rows, 0)
    this.#report.dangling += nowhere
    if (nowhere > 0) this.#problem(`${nowhere} rows of the index name packs that are not in the catalog`)
    return named
  }

  async #checkPack(row: PackRow, named: number, total: number): Promise<void> {
    const { datastore, tenant, signal, onProgress } = this.#context
    const { packs } = datastore.tenantStore(tenant)
    if ((await packs.size(row.uuid)) === null) {
      this.#report.missingPacks++
      this.#report.dangling += named
      this.#problem(`pack ${row.uuid} has no file; ${named} records are lost with it`)
      return
    }
    const onRead = async (bytes: number): Promise<void> => {
      await this.#throttle.take(bytes, signal)
      onProgress({ phase: 'scan', done: Math.min(this.#doneBytes + bytes, total), total })
    }
    let batch: { id: Uint8Array; offset: number; bytes: number }[] = []
    let found = 0
    let tail: PackGap | null = null
    const look = async (): Promise<void> => {
      found += await this.#look(row, batch)
      batch = []
      await this.#sift()
    }
    for await (const item of packs.scan(row.uuid, { to: row.bytes, signal, onRead, skipUnreadable: true })) {
      if (!('header' in item)) {
        if (isTail(row, item)) tail = item
        else this.#gap(row, item)
        continue
      }
      const { storedLength, parts } = item.header
      for (const [place, { id }] of parts.entries()) {
        const bytes = shareOf({ storedLength, parts: parts.length, place })
        batch.push({ id, offset: item.offset, bytes })
      }
      this.#remember(row, item)
      if (batch.length >= BATCH_RECORDS) await look()
    }
    await look()
    if (found < named) {
      if (tail !== null) this.#gap(row, tail)
      await this.#dangling(row, found)
    }
    await this.#checkHeader(row, named, found)
    this.#report.packs++
    this.#report.bytes += row.bytes
    this.#doneBytes += row.bytes
  }

  /**
   * The header of an empty pack, such as one cut off while it was made, does not matter; one of another pack matters where its
   * records are missing.
   */
  async #checkHeader({ uuid, kind }: PackRow, named: number, found: number): Promise<void> {
    const { packs } = this.#context.datastore.tenantStore(this.#context.tenant)
    try {
      const header = await packs.header(uuid)
      if (header.kind !== kind) throw new VarveError('DATA_DAMAGED', 'it is of another kind than the catalog says')
    } catch (thrown) {
      const { message, details } = asVarveError(thrown)
      if (named > ('holds' in details ? found : 0)) this.#problem(`pack ${uuid}: ${message}`)
    }
  }

  /** How many of these records the index names at just these places. */
  async #look(row: PackRow, batch: readonly { id: Uint8Array; offset: number; bytes: number }[]): Promise<number> {
    if (batch.length === 0) return 0
    const { datastore, tenant } = this.#context
    const isNamed = await datastore.catalog.collection.named({
      tenant: tenant.id,
      pack: row.id,
      ids: joinIds(batch.map(({ id }) => id)),
      offsets: batch.map(({ offset }) => offset),
    })
    const { unindexed } = this.#report
    this.#report.records += batch.length
    for (const [index, { bytes }] of batch.entries()) {
      if (isNamed[index] === 1) continue
      unindexed.records++
      unindexed.bytes += bytes
    }
    return isNamed.reduce((sum, one) => sum + one, 0)
  }

  #gap({ uuid }: PackRow, { offset, length, problem }: PackGap): void {
    this.#problem(`pack ${uuid}: no whole record from byte ${offset} to ${offset + length}: ${problem}`)
  }

  /** Rows may have been removed since the check began: only what is missing now counts. */
  async #dangling(row: PackRow, found: number): Promise<void> {
    const { datastore, tenant } = this.#context
    const rows = await datastore.catalog.collection.rowsOf({ tenant: tenant.id, pack: row.id })
    const missing = rows.filter(({ offset }) => offset < row.bytes).length - found
    if (missing <= 0) return
    this.#report.dangling += missing
    this.#problem(`pack ${row.uuid} lacks ${missing} records that the index names; verify shows what is lost with them`)
  }

  /** Keeps the manifests and states. */
  #remember(row: PackRow, { header, bytes, offset }: PackRecord): void {
    const { type, codec, parts } = header
    const { id, plainLength } = parts[0]!
    if (type !== RECORD.manifest && type !== RECORD.state) return
    try {
      const plain = decode(codec, parseRecord(bytes, 0).stored, plainLength)
      if (type === RECORD.state) this.#takeState(decodeState(plain, id))
      else if (equalBytes(keyedHash(manifestKey(this.#context.tenant.idKey), plain), id)) {
        const { point, state } = decodeManifest(plain)
        this.#manifests.push({ point, state })
      }
    } catch (thrown) {
      this.#problem(`pack ${row.uuid}: record at byte ${offset}: ${asVarveError(thrown).message}`)
    }
  }

  #takeState(part: StatePart): void {
    const seq = this.#state[0]?.seq ?? 0
    if (part.seq > seq) this.#state = []
    if (part.seq >= seq) this.#state.push(part)
  }

  /** Keeps of the manifests read last those that the catalog does not know. */
  async #sift(): Promise<void> {
    const { datastore, tenant } = this.#context
    const manifests = this.#manifests.splice(0)
    const points = manifests.map(({ point }) => point)
    const known = await datastore.catalog.checks.points({ tenant: tenant.id, points })
    const strangers = manifests.filter((_, index) => known[index] === 0)
    if (this.#strangers.length + strangers.length > STRANGERS_MAX) this.#strangersCut = true
    else this.#strangers.push(...strangers)
  }

  /** Which of the unknown restore points should be there: those that the newest state names, or that are newer than it. */
  async #judgePoints(): Promise<void> {
    const { datastore, tenant } = this.#context
    const seq = await datastore.catalog.states.seq({ tenant: tenant.id })
    if (this.#state.length === 0) return
    const { state, complete } = joinParts(this.#state)
    if (state.seq > seq)
      this.#problem(
        `the catalog is older than the packs (state ${seq}, they have ${state.seq}): stop the gateway and run varve-gateway repair --rebuild`,
      )
    const live = new Set([...state.points.map(({ id }) => id), ...state.jobs])
    const isLive = (one: Stranger): boolean => !complete || one.state >= state.seq || live.has(one.point)
    const points = new Set(this.#strangers.filter(isLive).map(({ point }) => point))
    for (const point of points) this.#problem(`restore point ${point} is in the packs and not in the catalog`)
    this.#report.unknownPoints = points.size
    if (this.#strangersCut) this.#problem(`only the first ${STRANGERS_MAX} restore points of packs were looked at`)
  }

  #problem(text: string): void {
    this.#report.problemCount++
    if (this.#report.problems.length < REPORT_ROWS_MAX) this.#report.problems.push(text)
  }
}

/** Reads all packs of the tenant up to their acknowledged ends and compares them with the catalog; nothing is changed. */
export const checkPacks = (context: MaintenanceContext, params: Params<'store.check'>): Promise<Report> =>
  new PackCheck(context, params.bytesPerSecond).run()
