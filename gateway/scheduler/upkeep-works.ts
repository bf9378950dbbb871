// Upkeep as works of the scheduler: each does what a person can start by hand, notes how it ended, and says so in a sentence.
import type { RunKind } from '../../protocol/runs.ts'
import { asVarveError, VarveError, type ErrorCode } from '../../protocol/errors.ts'
import type { Log } from '../../protocol/host/log.ts'
import type { Clock } from '../../protocol/peer.ts'
import { SYSTEM } from '../auth/system.ts'
import type { Tenant } from '../catalog/tenants.ts'
import type { Datastore } from '../datastore/datastore.ts'
import type { Events } from '../events/events.ts'
import { removedPoints } from '../events/removed.ts'
import { keepState } from '../maintenance/keep-state.ts'
import type { Maintenance } from '../maintenance/maintenance.ts'
import { prune } from '../maintenance/prune.ts'
import { refreshState } from '../maintenance/state-check.ts'
import { checkAudit } from './audit-check.ts'
import { collectNoted } from './collect-noted.ts'
import { Pace } from './pace.ts'
import { collectSummary, pruneSummary, verifiedSummary, type Verified } from './upkeep-words.ts'
import { dueVerifications } from './verify-plan.ts'
import type { Work, WorkEnd } from './work.ts'

/** Packs with a smaller share of live bytes are rewritten, in percent. */
const THRESHOLD_PERCENT = 90

/** Verification begins with no further machine after so long, in milliseconds; the next run goes on. */
const VERIFY_MS = 2 * 3_600_000

/** What says nothing about upkeep: it is tried again, and nobody has to do anything. */
const PASSING: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['MAINTENANCE_RUNNING', 'GOING_AWAY', 'TOO_MANY_REQUESTS'])

export interface UpkeepParts {
  readonly datastore: Datastore
  readonly maintenance: Pick<Maintenance, 'run'>
  readonly events: Pick<Events, 'tell'> & { readonly conditions: Pick<Events['conditions'], 'set' | 'clear'> }
  readonly clock: Clock
  readonly log: Log
  /** Verification reads at most so much while no backup runs, in bytes per second; null for no limit. */
  readonly verifyBytesPerSecond: number | null
}

/** How a kind ended well, and what it remembers for its next time; null for what it knew. */
type Done = WorkEnd & { readonly note: string | null }

type Doing = (parts: UpkeepParts, tenant: Tenant, signal: AbortSignal) => Promise<Done>

/** Nobody follows it. */
const callOf = (signal: AbortSignal): { readonly signal: AbortSignal; readonly send: () => Promise<void> } => ({
  signal,
  send: async () => {},
})

const paceOf = ({ datastore, clock }: UpkeepParts, bytesPerSecond: number | null): Promise<Pace> =>
  Pace.start({ look: async () => (await datastore.catalog.upkeep.backups()) > 0, clock, bytesPerSecond })

const pruneWork: Doing = async ({ datastore, events, clock, log }, tenant) => {
  const { catalog } = datastore
  const { tenants } = await catalog.upkeep.facts()
  const seq = tenants.find((one) => one.tenant === tenant.id)?.newestSeq ?? 0
  const params = { machine: null, group: null, plan: null, rules: null, points: null, dryRun: false }
  const pruned = await prune({ catalog, tenant, params, nowMs: clock.now(), by: SYSTEM })
  const note = JSON.stringify({ seq })
  if (pruned.removed === 0) return { skipped: 'nothing', note }
  events.tell(removedPoints({ tenant: tenant.id, removed: pruned.removed, subject: SYSTEM.subject }))
  await keepState(datastore.tenantStore(tenant), log)
  return { summary: pruneSummary(pruned.removed), note }
}

const collectWork: Doing = async (parts, tenant, signal) => {
  const { datastore, maintenance, clock } = parts
  await using pace = await paceOf(parts, null)
  const params = { dryRun: false, thresholdPercent: THRESHOLD_PERCENT, bytesPerSecond: null }
  const report = await collectNoted({ catalog: datastore.catalog, clock }, tenant.id, () =>
    maintenance.run('store.collect', tenant, params, callOf(signal), { pace: pace.rate }),
  )
  if (report.waiting.noRoomBytes > 0)
    throw new VarveError(
      'STORE_FULL',
      `${collectSummary(report)}; there is too little free space to rewrite all packs: make room beside the datastore, or prune more`,
    )
  return { summary: collectSummary(report), note: null }
}

const verifyWork: Doing = async (parts, tenant, signal) => {
  const { datastore, maintenance, clock, verifyBytesPerSecond } = parts
  const { catalog } = datastore
  const nowMs = clock.now()
  const of = { tenant: tenant.id }
  const machines = await catalog.upkeep.verifiable({ ...of, nowMs })
  const due = dueVerifications(tenant.id, machines, await catalog.plans.list(of), nowMs)
  if (due.length === 0) return { skipped: 'nothing', note: null }
  await using pace = await paceOf(parts, verifyBytesPerSecond)
  const startedMs = clock.elapsed()
  const total: Verified = { machines: 0, left: due.length, points: 0, bytes: 0, damaged: 0 }
  for (const { machine, olderThanDays } of due) {
    if (clock.elapsed() - startedMs >= VERIFY_MS) break
    const params = { point: null, machine, olderThanDays, bytesPerSecond: null }
    const report = await maintenance
      .run('store.verify', tenant, params, callOf(signal), { pace: pace.rate })
      .catch((thrown) => {
        // it was renamed or removed meanwhile
        if (asVarveError(thrown).code !== 'NOT_FOUND') throw thrown
        return null
      })
    total.left--
    if (report === null) continue
    total.machines++
    total.points += report.points
    total.bytes += report.bytes
    total.damaged += report.damagedCount
  }
  return { summary: verifiedSummary(total), note: null }
}

const stateWork: Doing = async ({ datastore }, tenant) => {
  const damaged = await refreshState(datastore.catalog, datastore.tenantStore(tenant))
  const summary =
    damaged > 0 ? 'the state was damaged in the packs and is written again' : 'the state in the packs is whole'
  return { summary, note: null }
}

const auditWork = async ({ datastore, events, clock }: UpkeepParts, signal: AbortSignal): Promise<Done> => {
  const { platform } = await datastore.catalog.upkeep.facts()
  const before = platform.find(({ kind }) => kind === 'audit')?.note
  const asked = { note: before, nowMs: clock.now(), signal }
  const { checked, entries, brokenSeq, note } = await checkAudit(datastore.catalog, asked)
  const condition = { tenant: null, kind: 'audit.broken', key: 'audit.broken' } as const
  if (brokenSeq === null) {
    await events.conditions.clear({ ...condition, text: 'the audit log is as it was written' })
    return { summary: `checked ${checked} of ${entries} entries of the audit log: all are as they were written`, note }
  }
  const summary = `entry ${brokenSeq} of the audit log is missing, was edited, or was added by another program`
  const text = `${summary}: compare it with a copy (varve-gateway audit list), and find out who could write the data folder`
  const data = { seq: brokenSeq }
  await events.conditions.set({ ...condition, severity: 'error', value: String(brokenSeq), text, data })
  return { summary, note }
}

const OF_TENANTS: Readonly<Partial<Record<RunKind, Doing>>> = {
  prune: pruneWork,
  collect: collectWork,
  verify: verifyWork,
  state: stateWork,
}

/** Does it, notes how it ended, and says where it fails and where it does not any more. */
const noted = async (
  parts: UpkeepParts,
  { kind, tenant, signal }: { readonly kind: RunKind; readonly tenant: Tenant | null; readonly signal: AbortSignal },
  work: () => Promise<Done>,
): Promise<WorkEnd> => {
  const { datastore, events, clock } = parts
  const { conditions } = events
  const note = (ok: boolean, text: string | null): Promise<void> =>
    datastore.catalog.upkeep.note({ tenant: tenant?.id ?? null, kind, nowMs: clock.now(), ok, note: text })
  const of = tenant === null ? 'of the gateway' : `of tenant ${tenant.name}`
  const condition = { tenant: tenant?.id ?? null, kind: 'upkeep.failing', key: `upkeep.failing ${kind}` } as const
  try {
    const { note: memory, ...end } = await work()
    await note(true, memory)
    await conditions.clear({ ...condition, text: `upkeep (${kind}) ${of} works again`, data: { kind } })
    return end
  } catch (thrown) {
    const error = asVarveError(thrown)
    if (signal.aborted || PASSING.has(error.code)) throw thrown
    await note(false, null)
    const text = `upkeep (${kind}) ${of} fails: ${error.message}`
    const data = { kind, code: error.code }
    await conditions.set({ ...condition, severity: 'warning', value: error.code, text, data })
    throw thrown
  }
}

/** The works of upkeep, for the scheduler. */
export const upkeepWorks = (parts: UpkeepParts): Work[] => [
  ...Object.entries(OF_TENANTS).map(([name, work]): Work => {
    const kind = name as RunKind
    return {
      kind,
      run: async (tenant, signal) => {
        if (tenant === null) throw new VarveError('INTERNAL', `${kind} is the work of a tenant`)
        return await noted(parts, { kind, tenant, signal }, () => work(parts, tenant, signal))
      },
    }
  }),
  {
    kind: 'audit',
    run: (_, signal) => noted(parts, { kind: 'audit', tenant: null, signal }, () => auditWork(parts, signal)),
  },
]
