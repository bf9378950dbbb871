// What a start does about packs after any end of the last run: a pure plan over the catalog and the files, and its execution.
import type { PackRow } from '../catalog/packs.ts'
import { asVarveError } from '../../protocol/errors.ts'
import type { Catalog } from '../catalog/catalog.ts'
import { PACK_BYTES_MAX, PACK_HEADER_BYTES, parsePackHeader } from '../packs/format.ts'
import type { DatastoreLog } from '../common/log.ts'
import { refuseOlderEpoch } from '../catalog/older-catalog.ts'
import { refuseOlderCatalog, type UnknownBytes } from './older-catalog.ts'
import type { FreePack, PackPool } from '../packs/pack-pool.ts'
import { misplacedText, readAnyHeader } from '../packs/pack-scan.ts'
import type { Packs } from '../packs/pack-store.ts'

/** Unknown files named in a report; more are only counted. */
const UNKNOWN_NAMED_MAX = 100

/** Misplaced packs named in a report. */
const MISPLACED_NAMED_MAX = 100

/** A pack that does not hold what was acknowledged. */
export interface DamagedPack {
  readonly tenant: string
  readonly pack: string
  /** Acknowledged length, in bytes. */
  readonly expectedBytes: number
  /** Length found, in bytes; null when there is no such file. */
  readonly foundBytes: number | null
}

export interface RecoveryPlan {
  /** Unsealed and exactly as long as the catalog says: used further. */
  readonly reuse: readonly FreePack[]
  /** Longer than acknowledged, or damaged: sealed as they are, nothing cut. */
  readonly seal: readonly { readonly id: number; readonly bytes: number }[]
  /** Rows whose file was never made. */
  readonly forget: readonly number[]
  readonly damaged: readonly DamagedPack[]
}

export interface RecoveryReport {
  readonly reused: number
  readonly sealed: number
  readonly damaged: readonly DamagedPack[]
  /** Packs whose files hold other packs, as sentences. At most MISPLACED_NAMED_MAX. */
  readonly misplaced: readonly string[]
  /** Files among the packs that the catalog does not know; never touched. At most UNKNOWN_NAMED_MAX are named. */
  readonly unknown: readonly string[]
  readonly unknownCount: number
}

/** What was found of an unsealed pack: its length (null without a file), and whether its header is its own. */
export interface FoundPack {
  readonly bytes: number | null
  readonly header: boolean
}

const damagedPack = (row: PackRow, foundBytes: number | null): DamagedPack => ({
  tenant: row.tenant,
  pack: row.uuid,
  expectedBytes: row.bytes,
  foundBytes,
})

/** The plan for the catalog's packs; `present` are the uuids that have a file, `unsealed` what was found of each unsealed row. */
export const planRecovery = (
  rows: readonly PackRow[],
  present: ReadonlySet<string>,
  unsealed: ReadonlyMap<number, FoundPack>,
): RecoveryPlan => {
  const plan = { reuse: [] as FreePack[], seal: [] as { id: number; bytes: number }[] }
  const forget: number[] = []
  const damaged: DamagedPack[] = []
  for (const row of rows) {
    const { id, tenant, uuid, kind, bytes } = row
    // one marked for removal is left to the next collection, which checks its content once more
    if (row.state === 'doomed') continue
    if (row.state === 'sealed') {
      if (!present.has(`${tenant} ${uuid}`)) damaged.push(damagedPack(row, null))
      continue
    }
    const found = unsealed.get(id) ?? { bytes: null, header: false }
    if (found.bytes === null && bytes === 0) {
      forget.push(id)
    } else if (found.bytes === null || found.bytes < bytes || (bytes > 0 && !found.header)) {
      damaged.push(damagedPack(row, found.bytes))
      plan.seal.push({ id, bytes: 0 })
    } else if (found.bytes === bytes && found.header && bytes < PACK_BYTES_MAX) {
      plan.reuse.push({ id, name: { tenant, pack: uuid }, kind, bytes })
    } else {
      plan.seal.push({ id, bytes: found.bytes })
    }
  }
  return { ...plan, forget, damaged }
}

const look = async (store: Packs, row: PackRow): Promise<FoundPack> => {
  const name = { tenant: row.tenant, pack: row.uuid }
  const bytes = await store.size(name)
  if (bytes === null || bytes < PACK_HEADER_BYTES) return { bytes, header: false }
  try {
    const header = parsePackHeader(await store.read(name, 0, PACK_HEADER_BYTES))
    return { bytes, header: header.tenant === row.tenant && header.pack === row.uuid && header.kind === row.kind }
  } catch (error) {
    if (asVarveError(error).code !== 'DATA_DAMAGED') throw error
    return { bytes, header: false }
  }
}

/**
 * The packs with a file whose header is that of another pack; what else may be wrong with a header, reads and verification find.
 */
const findMisplaced = async (
  store: Packs,
  rows: readonly PackRow[],
  present: ReadonlySet<string>,
): Promise<string[]> => {
  const misplaced: string[] = []
  const candidates = rows.filter(
    ({ tenant, uuid, bytes, state }) => state !== 'doomed' && bytes > 0 && present.has(`${tenant} ${uuid}`),
  )
  const atOnce = store.costs.concurrency
  for (let from = 0; from < candidates.length; from += atOnce)
    await Promise.all(
      candidates.slice(from, from + atOnce).map(async ({ tenant, uuid: pack }) => {
        const header = await readAnyHeader(store, { tenant, pack }).catch(() => null)
        const text = header === null ? null : misplacedText(header, { tenant, pack })
        if (text !== null) misplaced.push(`pack ${pack}: ${text}`)
      }),
    )
  return misplaced.slice(0, MISPLACED_NAMED_MAX)
}

/**
 * Settles all packs and offers the reusable ones to writers. No file is truncated. CATALOG_MISSING, with nothing changed, where
 * the catalog is older than the packs. `epoch` is the number beside them, read before the catalog's; without one all packs of
 * nodes are looked at for what the catalog should know.
 */
export const recover = async (options: {
  store: Packs
  catalog: Catalog
  packs: PackPool
  log: DatastoreLog
  epoch: number | null
  /** Reads headers and is closed at once: an open handle would hide that a pack was removed. */
  headers: Packs
}): Promise<RecoveryReport> => {
  const { store, catalog, packs, log, epoch, headers } = options
  const rows = await catalog.packs.list()
  const known = new Set(rows.map(({ tenant, uuid }) => `${tenant} ${uuid}`))
  const present = new Set<string>()
  const unknown: string[] = []
  const strangers: UnknownBytes[] = []
  let unknownCount = 0
  for await (const entry of store.list()) {
    const key = 'name' in entry ? `${entry.name.tenant} ${entry.name.pack}` : null
    if (key !== null && known.has(key)) {
      present.add(key)
      continue
    }
    if ('name' in entry) strangers.push({ name: entry.name, from: null })
    if (unknownCount++ < UNKNOWN_NAMED_MAX)
      unknown.push('name' in entry ? `${entry.name.tenant}/${entry.name.pack}` : entry.unknown)
  }
  const unsealed = new Map<number, FoundPack>()
  for (const row of rows) if (row.state === 'open') unsealed.set(row.id, await look(store, row))

  for (const { id, tenant, uuid, kind, bytes } of rows) {
    if (kind !== 'nodes') continue
    const name = { tenant, pack: uuid }
    if ((unsealed.get(id)?.bytes ?? 0) > bytes) strangers.push({ name, from: bytes === 0 ? null : bytes })
    if (epoch === null && present.has(`${tenant} ${uuid}`)) strangers.push({ name, from: null, known: true })
  }
  await refuseOlderCatalog({ store, catalog }, strangers)
  refuseOlderEpoch(epoch, await catalog.condition.acknowledged())

  const plan = planRecovery(rows, present, unsealed)
  if (plan.seal.length > 0) await catalog.packs.seal({ packs: plan.seal })
  for (const id of plan.forget) await catalog.packs.forget({ id })
  for (const pack of plan.reuse) packs.offer(pack)
  for (const pack of plan.damaged) log.error({ code: 'DATA_DAMAGED', ...pack }, 'a pack lacks acknowledged bytes')
  const misplaced = await findMisplaced(headers, rows, present)
  for (const text of misplaced) log.error({ code: 'DATA_DAMAGED' }, text)
  if (unknownCount > 0) log.warn({ unknown, unknownCount }, 'unknown files among the packs are left alone')
  return {
    reused: plan.reuse.length,
    sealed: plan.seal.length,
    damaged: plan.damaged,
    misplaced,
    unknown,
    unknownCount,
  }
}
