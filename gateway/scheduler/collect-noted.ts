// A collection that leaves a note of what it found, for the estimate of the next one; whoever asked for it.
import type { CollectionReport } from '../../protocol/maintenance.ts'
import type { Clock } from '../../protocol/peer.ts'
import type { Catalog } from '../catalog/catalog.ts'
import type { UpkeepTenant } from '../catalog/upkeep.ts'
import { collectionNote, notedCollection } from './collection-gain.ts'

interface Uses {
  readonly catalog: Pick<Catalog, 'upkeep'>
  readonly clock: Pick<Clock, 'now'>
}

const factsOf = async (catalog: Uses['catalog'], tenant: string): Promise<UpkeepTenant | null> => {
  const { tenants } = await catalog.upkeep.facts()
  return tenants.find((one) => one.tenant === tenant) ?? null
}

/** Runs a collection of a tenant and notes what it found; throws what the collection does. */
export const collectNoted = async (
  { catalog, clock }: Uses,
  tenant: string,
  collect: () => Promise<CollectionReport>,
): Promise<CollectionReport> => {
  const before = await factsOf(catalog, tenant)
  const report = await collect()
  if (report.dryRun || before === null) return report
  const after = (await factsOf(catalog, tenant)) ?? before
  const last = collectionNote(before.notes.find(({ kind }) => kind === 'collect')?.note)
  const note = JSON.stringify(notedCollection({ before, after, last }, report))
  await catalog.upkeep.note({ tenant, kind: 'collect', nowMs: clock.now(), ok: true, note })
  return report
}
