// The gauges, counters and histograms of a gateway, in a registry of its own; METRICS.md names them all.
import { Counter, Gauge, Histogram, Registry } from '@prometheus-io/client'
import type { Figures } from '../catalog/figures.ts'

/** Longest backups take days, shortest less than a second. */
const BACKUP_BUCKETS_S = [1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 24 * 3600]

/** A freeze is bounded to a minute; what matters is below a second. */
const FREEZE_BUCKETS_S = [0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60]

/** What the gateway knows by itself, without asking the catalog. */
export interface LiveFigures {
  readonly sessions: number
  /** The disk with the least room; null where it cannot be looked at. */
  readonly room: { readonly freeBytes: number; readonly totalBytes: number; readonly reserveBytes: number } | null
  /** Whether an agent is connected. */
  readonly online: (agent: string) => boolean
}

const NO_FIGURES: Figures = {
  tenants: [],
  agents: [],
  runs: [],
  ended: [],
  notices: [],
  machines: { tenants: new Uint32Array(0), names: [], pointMs: new Float64Array(0) },
}

/** Definitions that all metrics of a kind share. */
const made = (registry: Registry) => {
  const registers = [registry]
  return {
    counter: <const L extends string>(name: string, help: string, labelNames: readonly L[]): Counter<L> =>
      new Counter({ name, help, labelNames, registers }),
    gauge: <const L extends string = never>(name: string, help: string, labelNames: readonly L[] = []): Gauge<L> =>
      new Gauge({ name, help, labelNames, registers }),
    histogram: <const L extends string>(
      name: string,
      help: string,
      { labelNames, buckets }: { readonly labelNames: readonly L[]; readonly buckets: number[] },
    ): Histogram<L> => new Histogram({ name, help, labelNames, buckets, registers }),
  }
}

/** What happens, counted since the gateway started. */
const happened = ({ counter, histogram }: ReturnType<typeof made>) => ({
  backupDuration: histogram(
    'varve_backup_duration_seconds',
    'How long backups took that made a restore point, from their start to the commit.',
    { labelNames: ['tenant'], buckets: BACKUP_BUCKETS_S },
  ),
  freeze: histogram('varve_guest_freeze_seconds', 'How long guests were frozen for backups.', {
    labelNames: ['tenant'],
    buckets: FREEZE_BUCKETS_S,
  }),
  backupBytes: counter(
    'varve_backup_bytes_total',
    'Bytes of backups: read from machines, sent to the gateway, newly stored.',
    ['tenant', 'stage'],
  ),
  fullReads: counter('varve_full_reads_total', 'Backups that read a disk in full, by reason of the first one.', [
    'tenant',
    'reason',
  ]),
  jobsEnded: counter('varve_jobs_ended_total', 'Backups that ended.', ['tenant', 'state']),
  jobErrors: counter('varve_job_errors_total', 'Backups that failed, by code.', ['tenant', 'code']),
  runsEnded: counter('varve_runs_ended_total', 'Runs that ended.', ['tenant', 'kind', 'state']),
  traceSpans: counter('varve_trace_spans_total', 'Spans for the collector, where one is named.', ['outcome']),
})

/** What is so at a scrape. */
const standing = ({ gauge }: ReturnType<typeof made>) => ({
  build: gauge('varve_build_info', 'Version of the gateway; always 1.', ['version']),
  complete: gauge('varve_scrape_complete', '1 where the catalog answered in time; else its figures are missing.'),
  sessions: gauge('varve_sessions', 'Sessions that are open.'),
  jobs: gauge('varve_jobs', 'Backups under way.', ['tenant', 'state']),
  runs: gauge('varve_runs', 'Runs that are due or running.', ['tenant', 'kind', 'state']),
  notices: gauge('varve_notices', 'Messages in the outbox; the tenant is empty for the platform.', ['tenant', 'state']),
  machines: gauge('varve_machines', 'Machines of a tenant.', ['tenant']),
  omitted: gauge('varve_machines_omitted', 'Machines whose gauges were left out, as there are too many.'),
  points: gauge('varve_points', 'Restore points of a tenant.', ['tenant']),
  lost: gauge('varve_lost_ranges', 'Ranges of restore points that cannot be restored.', ['tenant']),
  damaged: gauge('varve_damaged_records', 'Records known to be damaged or missing.', ['tenant']),
  bytes: gauge('varve_tenant_bytes', 'Bytes of a tenant on the disk.', ['tenant', 'kind']),
  quota: gauge('varve_quota_bytes', 'Limits on the pack files of a tenant, where there are any.', ['tenant', 'limit']),
  agents: gauge('varve_agent_connected', '1 where an agent is connected, else 0.', ['tenant', 'agent', 'host']),
  free: gauge('varve_datastore_free_bytes', 'Free space of the disk with the least room that uploads write to.'),
  total: gauge('varve_datastore_total_bytes', 'Size of that disk.'),
  reserve: gauge('varve_datastore_reserve_bytes', 'What uploads leave free of that disk.'),
})

export class Instruments {
  readonly registry = new Registry(Registry.OPENMETRICS_CONTENT_TYPE)
  readonly #made = made(this.registry)
  readonly happened = happened(this.#made)
  readonly #standing = standing(this.#made)

  constructor(version: string) {
    this.#standing.build.set({ version }, 1)
    this.#standing.omitted.set(0)
  }

  /** Puts in what is so now; `figures` is null where the catalog did not answer. */
  set(figures: Figures | null, live: LiveFigures): void {
    const { complete, sessions, free, total, reserve } = this.#standing
    complete.set(figures === null ? 0 : 1)
    sessions.set(live.sessions)
    if (live.room !== null) {
      free.set(live.room.freeBytes)
      total.set(live.room.totalBytes)
      reserve.set(live.room.reserveBytes)
    }
    this.#setFigures(figures ?? NO_FIGURES, live)
  }

  #setFigures({ tenants, agents, runs, ended, notices, machines }: Figures, { online }: LiveFigures): void {
    const { jobs, omitted, points, lost, damaged, bytes, quota, ...others } = this.#standing
    const ofCatalog = [jobs, others.runs, others.notices, others.machines, points, lost, damaged, bytes, quota]
    for (const gauge of [...ofCatalog, others.agents]) gauge.reset()
    let count = 0
    for (const { tenant, softBytes, hardBytes, ...figures } of tenants) {
      count += figures.machines
      others.machines.set({ tenant }, figures.machines)
      points.set({ tenant }, figures.points)
      jobs.set({ tenant, state: 'running' }, figures.running)
      lost.set({ tenant }, figures.lostRanges)
      damaged.set({ tenant }, figures.damaged)
      bytes.set({ tenant, kind: 'packs' }, figures.packBytes)
      if (softBytes !== null) quota.set({ tenant, limit: 'soft' }, softBytes)
      if (hardBytes !== null) quota.set({ tenant, limit: 'hard' }, hardBytes)
    }
    omitted.set(count - machines.names.length)
    for (const { tenant, kind, state, count: open } of runs)
      others.runs.set({ tenant: tenant ?? '', kind, state }, open)
    for (const { tenant, kind, state, count: more } of ended)
      this.happened.runsEnded.inc({ tenant: tenant ?? '', kind, state }, more)
    for (const { tenant, state, count: held } of notices) others.notices.set({ tenant: tenant ?? '', state }, held)
    for (const { id, tenant, host } of agents) others.agents.set({ tenant, agent: id, host }, online(id) ? 1 : 0)
  }
}
