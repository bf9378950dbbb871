// What is told of runs, in the transaction of their change; of a backup that has a job, the job's own events say how it went.
import type { RunKind, RunState, SkipReason } from '../../../protocol/runs.ts'
import { appendEvent, PLATFORM } from './events.ts'
import type { Sql } from './sql.ts'

const WHAT: Readonly<Record<RunKind, string>> = {
  backup: 'the planned backup',
  prune: 'the removal of restore points',
  collect: 'the collection of unreferenced space',
  verify: 'the verification',
  audit: 'the check of the audit log',
  state: 'the copy of the catalog’s state',
  drill: 'the trial of a restore',
}

interface Told {
  readonly tenant: number | null
  readonly kind: RunKind
  readonly state: RunState
  readonly skipped: SkipReason | null
  readonly machine: string | null
  readonly plan: string | null
  readonly summary: string
  readonly code: string | null
  readonly attempts: number
}

/** Tells that a run has been started or has ended, as its row says now; conditions tell what needs a person. */
export const tellRun = (sql: Sql, id: string, nowMs: number): void => {
  const { tenant, machine, summary, ...run } = sql.get<Told & object>(
    `SELECT run.tenant, run.kind, run.state, run.skipped, machine.name AS machine, run.plan, run.summary, run.attempts,
     json_extract(run.error, '$.code') AS code FROM run LEFT JOIN machine ON machine.id = run.machine WHERE run.id = ?`,
    id,
  )!
  const what = `${WHAT[run.kind]}${machine === null ? '' : ` of ${machine}`}`
  const why = run.skipped ?? run.code
  const how = { running: 'has started', done: 'is done', failed: 'failed', skipped: 'was skipped', due: 'is due' }[
    run.state
  ]
  appendEvent(sql, {
    timeMs: nowMs,
    tenant: tenant ?? PLATFORM,
    kind: run.state === 'running' ? 'run.started' : 'run.ended',
    severity: 'info',
    machine,
    active: null,
    key: null,
    text: `${what} ${how}${why === null ? '' : ` (${why})`}${summary === '' ? '' : `: ${summary}`}`,
    data: { run: id, ...run },
  })
}
