// The tenants of a rebuilt catalog, with their facts: of the newest states, and of an older catalog where that knows more.
import { fromHex } from '../../protocol/chunk.ts'
import { VarveError } from '../../protocol/errors.ts'
import type { BuiltTenant, CatalogBuilder, NewTenant } from '../catalog/sqlite/catalog-builder.ts'
import { FACT_NAMES, factOf, type AnyRow, type FactName } from '../catalog/facts.ts'
import type { OldCatalog, OldTenant } from '../catalog/sqlite/old-catalog.ts'
import { FORMAT_VERSION } from '../packs/format.ts'
import type { Manifest } from '../catalog/manifest.ts'
import type { StatePoint, TenantState } from '../catalog/state-record.ts'
import { FORMAT_SETTING } from '../catalog/sqlite/store-version.ts'
import type { RebuildReport } from './rebuild-report.ts'
import type { FoundPack, FoundState } from './rebuild-scan.ts'

/** A state, or the old catalog: which restore points there were at one moment. */
interface Witness {
  /** Manifests that name this number or a higher one are newer. */
  readonly seq: number
  readonly points: ReadonlySet<string>
  readonly jobs: ReadonlySet<string>
}

/** A tenant of which there are packs, or that the old catalog has. */
export interface Subject {
  readonly tenant: BuiltTenant
  readonly found: FoundState | null
  readonly old: OldTenant | null
  /** Points that the newest state names. */
  readonly points: Map<string, StatePoint>
  /** The latest set of restore points, from the newest witness; null without a reliable one. */
  readonly witness: Witness | null
  /** Points whose manifest was found and counts. */
  readonly manifests: Set<string>
  readonly failedJobs: ReadonlySet<string>
  /** Highest state number that anything names. */
  seq: number
}

interface TenantContext {
  readonly builder: CatalogBuilder
  readonly old: OldCatalog | null
  readonly report: RebuildReport
}

const newTenant = (state: TenantState | null, old: OldTenant | null): NewTenant => {
  if (old !== null && state === null) return old
  if (state === null) throw new VarveError('INTERNAL', 'a tenant has no source')
  const { idKey, uuid, ...tenant } = state.tenant
  const now = old ?? tenant
  const { name, quotaSoftBytes, quotaHardBytes } = now
  return { ...tenant, id: uuid, name, quotaSoftBytes, quotaHardBytes, idKey: fromHex(idKey) }
}

/** What a state and the old catalog say of a fact, into the new one. */
const addFact = (
  { builder, old: catalog, report }: TenantContext,
  fact: FactName,
  tenant: BuiltTenant,
  sources: { readonly state: TenantState | null; readonly old: OldTenant | null; readonly newer: boolean },
): void => {
  const { one, key, needs, removable } = factOf(fact)
  const said = sources.state?.[fact] ?? []
  const old = sources.old === null ? { rows: [], whole: false } : catalog!.facts(fact, sources.old.row)
  const add = (rows: readonly AnyRow[], newest: boolean): void => {
    for (const row of rows) {
      const has = (field: string): string => String((row as Readonly<Record<string, unknown>>)[field])
      if (builder.addFact(tenant, fact, row, { newest }) || needs === null) continue
      const missing = `its ${factOf(needs[1]).one} ${has(needs[0])}`
      report.remarks.add(`${one} ${key.map(has).join(' ')} is left out: ${missing} is not known`)
    }
  }
  if (!removable) {
    add(said, false)
    add(old.rows, sources.newer)
  } else add(sources.newer && old.whole ? old.rows : said, true)
}

const witnessOf = (found: FoundState | null, old: OldTenant | null, catalog: OldCatalog | null): Witness | null => {
  const state = found?.complete === true ? found.state : null
  // the catalog assigns numbers: if it has a higher one than the newest state, it has seen one that is lost
  if (old !== null && catalog !== null && (state === null || old.seq > state.seq) && catalog.isWhole())
    return {
      seq: old.seq,
      points: new Set(catalog.points(old.row).map(({ id }) => id)),
      jobs: new Set(catalog.jobs(old.row, 'running')),
    }
  if (state === null) return null
  return { seq: state.seq, points: new Set(state.points.map(({ id }) => id)), jobs: new Set(state.jobs) }
}

const addTenant = (context: TenantContext, found: FoundState | null, old: OldTenant | null): Subject => {
  const { builder, old: catalog } = context
  const state = found?.state ?? null
  // the catalog knows the number of each state that was written: one that knows this one is not older than it
  const newer = old !== null && (state === null || old.seq >= state.seq)
  return builder.transaction(() => {
    const tenant = builder.addTenant(newTenant(state, newer ? old : null))
    for (const fact of FACT_NAMES) addFact(context, fact, tenant, { state, old, newer })
    return {
      tenant,
      found,
      old,
      points: new Map(state?.points.map((point) => [point.id, point])),
      witness: witnessOf(found, old, catalog),
      manifests: new Set<string>(),
      failedJobs: new Set(old === null ? [] : catalog!.jobs(old.row, 'failed')),
      seq: Math.max(state?.seq ?? 0, old?.seq ?? 0),
    }
  })
}

/** Tenants by their uuid: of states, and those that only the old catalog names. */
export const addTenants = (
  context: TenantContext,
  states: ReadonlyMap<string, FoundState>,
  packs: readonly FoundPack[],
): Map<string, Subject> => {
  const { builder, old: catalog, report } = context
  const subjects = new Map<string, Subject>()
  const old = new Map(catalog?.tenants().map((tenant) => [tenant.id, tenant]))
  const bySeniority = [...states].sort(([, a], [, b]) => a.state.tenant.row - b.state.tenant.row)
  for (const [uuid, found] of bySeniority) subjects.set(uuid, addTenant(context, found, old.get(uuid) ?? null))
  for (const [uuid, tenant] of old) if (!subjects.has(uuid)) subjects.set(uuid, addTenant(context, null, tenant))
  const packsOf = Map.groupBy(packs, ({ name }) => name.tenant)
  for (const [uuid, own] of packsOf) {
    const subject = subjects.get(uuid)
    if (subject?.found?.complete === true) continue
    const problem =
      subject === undefined
        ? 'no state was found: its packs are left alone, as its key is not known'
        : subject.found === null
          ? 'no state was found: it is taken from the old catalog'
          : 'a part of its newest state is missing: restore points that were pruned last may be there again'
    // the old catalog's knowledge replaces a state
    const { found = null, old: known = null } = subject ?? {}
    const missing = known === null || (found !== null && found.state.seq > known.seq)
    if (missing) report.missingStates++
    report.withoutState.add({ tenant: subject?.tenant.name ?? uuid, packs: own.length, problem })
  }
  const gateway = [...states.values()].sort((a, b) => b.state.timeMs - a.state.timeMs).find((one) => one.state.gateway)
  const settings = [
    [FORMAT_SETTING, String(FORMAT_VERSION)],
    ['gateway', gateway?.state.gateway ?? null],
  ] as const
  for (const [name, value] of settings)
    if (value !== null) builder.sql.run('INSERT OR IGNORE INTO setting (name, value) VALUES (?, ?)', name, value)
  return subjects
}

/**
 * Whether the restore point of a manifest was there last: a point that the witness does not name is newer than it, or was
 * removed.
 */
export const isLive = ({ witness, failedJobs }: Subject, { point, state }: Manifest): boolean => {
  if (failedJobs.has(point)) return false
  return witness === null || state >= witness.seq || witness.points.has(point) || witness.jobs.has(point)
}
