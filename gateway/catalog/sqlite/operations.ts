// The one table of database operations, by name.
import type { AuditRecord } from '../audit-record.ts'
import { isDatabaseFull } from '../../common/store-error.ts'
import { appendAudit, auditOperations } from './audit.ts'
import { checkOperations } from './check.ts'
import { recordOperations } from './records.ts'
import { collectionOperations } from './collection.ts'
import { comparisonOperations } from './comparison.ts'
import type { EpochKeeper } from './epoch.ts'
import { conditionOperations } from './conditions.ts'
import { coverageOperations } from './coverage.ts'
import { dayOperations } from './coverage-days.ts'
import { damageOperations } from './damage.ts'
import { drillOperations } from './drills.ts'
import { eventOperations } from './events.ts'
import { acknowledged, examineOperations } from './examine.ts'
import { groupOperations } from './groups.ts'
import { figureOperations } from './figures.ts'
import { identityOperations } from './identities.ts'
import { jobListOperations } from './job-list.ts'
import { jobOperations } from './jobs.ts'
import { lossOperations } from './loss.ts'
import { machineOperations } from './machines.ts'
import { noticeOperations } from './notices.ts'
import type { Operation, Operations } from './operation.ts'
import { outboxOperations } from './outbox.ts'
import { packOperations } from './packs.ts'
import { planOperations } from './plans.ts'
import { pointOperations } from './points.ts'
import { restoreOperations } from './restores.ts'
import { retentionOperations } from './retention.ts'
import { roomOperations } from './room.ts'
import { runOperations } from './runs.ts'
import type { Sql } from './sql.ts'
import { stateOperations } from './state.ts'
import { PACKS_SETTING } from '../settings.ts'
import { rowed, type Named } from './tenant-row.ts'
import { settingOf, tenantOperations } from './tenants.ts'
import { upkeepOperations } from './upkeep.ts'
import { usageOperations } from './usage.ts'
import { useOperations } from './uses.ts'
import { verificationOperations } from './verification.ts'
import { watchingOperations } from './watching.ts'

const OPERATIONS = {
  ...auditOperations,
  ...checkOperations,
  ...recordOperations,
  ...collectionOperations,
  ...comparisonOperations,
  ...conditionOperations,
  ...coverageOperations,
  ...dayOperations,
  ...damageOperations,
  ...drillOperations,
  ...eventOperations,
  ...examineOperations,
  ...groupOperations,
  ...figureOperations,
  ...identityOperations,
  ...jobOperations,
  ...jobListOperations,
  ...lossOperations,
  ...machineOperations,
  ...noticeOperations,
  ...outboxOperations,
  ...packOperations,
  ...planOperations,
  ...pointOperations,
  ...restoreOperations,
  ...retentionOperations,
  ...roomOperations,
  ...runOperations,
  ...stateOperations,
  ...tenantOperations,
  ...upkeepOperations,
  ...usageOperations,
  ...useOperations,
  ...verificationOperations,
  ...watchingOperations,
} satisfies Operations

export type OperationName = keyof Operations
export const OPERATION_NAMES = Object.keys(OPERATIONS) as readonly OperationName[]
type Ran<N extends OperationName> = Operations[N]['run']
export type OperationArgs<N extends OperationName> = Named<Parameters<Ran<N>>[1]>
export type OperationResult<N extends OperationName> = ReturnType<Ran<N>>

/** One transaction; if the log cannot grow, it is retried once with the log begun anew. */
const written = <R>(sql: Sql, run: () => R): R => {
  try {
    return sql.transaction(run)
  } catch (thrown) {
    if (!isDatabaseFull(thrown)) throw thrown
    // ballast can be taken instead, as long as there is any
    sql.restartLog({ patient: sql.ballast.names().length === 0 })
    return sql.transaction(run)
  }
}

/** Whether an operation runs beside the others, see `aside`. */
export const runsAside = (name: OperationName): boolean => OPERATIONS[name].mode === 'aside'

/** Runs one operation, with an audit entry in its transaction; on a full disk it uses the log's own room, then the ballast. */
export const runOperation = <N extends OperationName>(
  sql: Sql,
  name: N,
  args: OperationArgs<N>,
  entry?: AuditRecord,
): OperationResult<N> => {
  const operation = OPERATIONS[name] as unknown as Operation<object, OperationResult<N>>
  const run = (): OperationResult<N> => {
    const result = operation.run(sql, rowed(sql, args))
    if (entry !== undefined) appendAudit(sql, entry)
    return result
  }
  if (operation.mode === 'spare') {
    const result = sql.transaction(run)
    // only then has the catalog itself its new length
    sql.restartLog({ patient: false })
    return result
  }
  return sql.ballast.draw(() => (operation.mode === 'write' ? written(sql, run) : sql.snapshot(run)))
}

/** Runs one `aside` operation on a read-only connection. */
export const runAside = <N extends OperationName>(sql: Sql, name: N, args: OperationArgs<N>): OperationResult<N> => {
  const operation = OPERATIONS[name] as unknown as Operation<object, OperationResult<N>>
  return sql.snapshot(() => operation.run(sql, rowed(sql, args)))
}

/** Runs one operation as above and notes the epoch beside the packs before it is acknowledged. */
export const runKept = <N extends OperationName>(
  { sql, epoch }: { readonly sql: Sql; readonly epoch: EpochKeeper },
  name: N,
  args: OperationArgs<N>,
  entry?: AuditRecord,
): OperationResult<N> => {
  const result = runOperation(sql, name, args, entry)
  if (OPERATIONS[name].mode === 'write') epoch.keep(acknowledged(sql), settingOf(sql, PACKS_SETTING))
  return result
}
