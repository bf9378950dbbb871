// What Prometheus must have of a gateway that it scraped while it ran, died and came back.
import type { Check } from './checks.ts'
import type { Prometheus } from './prometheus.ts'

/** Series that every gateway has, by name. */
const SERIES = [
  'varve_build_info',
  'varve_scrape_complete',
  'varve_sessions',
  'varve_machines',
  'varve_machine_last_point_timestamp_seconds',
  'varve_points',
  'varve_runs',
  'varve_notices',
  'varve_tenant_bytes',
  'varve_agent_connected',
  'varve_datastore_free_bytes',
  'process_cpu_seconds_total',
]

export const seriesChecks = async (prometheus: Prometheus, wanted: { machines: number }): Promise<Check[]> => {
  const names = new Set([...(await prometheus.names('varve_')), ...(await prometheus.names('process_'))])
  const missing = SERIES.filter((name) => !names.has(name))
  const [up] = await prometheus.query('up{job="varve"}')
  const [least] = await prometheus.query('min_over_time(up{job="varve"}[1h])')
  const machines = await prometheus.query('varve_machine_last_point_timestamp_seconds')
  const fresh = machines.filter(({ value }) => Date.now() / 1000 - value < 600)
  return [
    {
      what: 'Prometheus has the series',
      ok: missing.length === 0,
      seen: missing.length === 0 ? `${names.size} names` : `missing: ${missing.join(', ')}`,
    },
    {
      what: 'Prometheus sees the gateway, and saw it away',
      ok: up?.value === 1 && least?.value === 0,
      seen: `up ${up?.value ?? 'nothing'} now, ${least?.value ?? 'nothing'} at the least`,
    },
    {
      what: 'Prometheus has each machine as it is',
      ok: machines.length === wanted.machines && fresh.length === wanted.machines,
      seen: `${fresh.length} of ${wanted.machines} machines with a new point`,
    },
  ]
}
