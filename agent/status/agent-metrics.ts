// The state of an agent as metrics, in OpenMetrics or the older text.
import { Counter, Gauge, Registry } from '@prometheus-io/client'
import type { AgentStatus } from './agent-status.ts'

const made = (registry: Registry) => {
  const registers = [registry]
  const gauge = <const L extends string = never>(name: string, help: string, labelNames: readonly L[] = []): Gauge<L> =>
    new Gauge({ name, help, labelNames, registers })
  const counter = <const L extends string = never>(
    name: string,
    help: string,
    labelNames: readonly L[] = [],
  ): Counter<L> => new Counter({ name, help, labelNames, registers })
  return {
    build: gauge('varve_agent_build_info', 'Version of the agent; always 1.', ['version']),
    started: gauge('varve_agent_start_time_seconds', 'When the agent started, in seconds since 1970.'),
    connected: gauge('varve_agent_link_connected', '1 while the agent is connected to its gateway.'),
    since: gauge('varve_agent_link_since_timestamp_seconds', 'Since when it is connected, or is not.'),
    reconnects: counter('varve_agent_reconnects_total', 'Connections that came after the first one.'),
    backups: counter('varve_agent_backups_total', 'Backups that ended.', ['state']),
    bytes: counter('varve_agent_bytes_total', 'Bytes of backups: read from disks, sent to the gateway.', ['stage']),
    lease: gauge('varve_agent_lease_since_timestamp_seconds', 'Since when a machine is being backed up.', ['machine']),
    used: gauge('varve_agent_scratch_used_bytes', 'What the scratch images of a backup take.', ['machine']),
    ratio: gauge('varve_agent_scratch_used_ratio', 'The same, of what they may take before it is cancelled.', [
      'machine',
    ]),
    free: gauge('varve_agent_scratch_free_bytes', 'Free space of the file system of the scratch folder.'),
    reserve: gauge('varve_agent_scratch_reserve_bytes', 'Below this a backup is cancelled.'),
    cpu: counter('process_cpu_seconds_total', 'Processor time of the process.'),
    memory: gauge('process_resident_memory_bytes', 'Memory of the process that is in RAM.'),
  }
}

/** The text of a status, in OpenMetrics 1.0. */
export const agentMetrics = async (status: AgentStatus): Promise<string> => {
  // a registry of its own each time: there are few values, and what is gone is gone
  const registry = new Registry(Registry.OPENMETRICS_CONTENT_TYPE)
  const all = made(registry)
  all.build.set({ version: status.version }, 1)
  all.started.set(status.startedMs / 1000)
  all.connected.set(status.link.connected ? 1 : 0)
  if (status.link.sinceMs !== null) all.since.set(status.link.sinceMs / 1000)
  all.reconnects.inc(status.link.reconnects)
  for (const state of ['committed', 'failed'] as const) all.backups.inc({ state }, status.backups[state])
  all.bytes.inc({ stage: 'read' }, status.traffic.bytesRead)
  all.bytes.inc({ stage: 'sent' }, status.traffic.bytesSent)
  for (const { machine, sinceMs, scratch } of status.leases) {
    if (sinceMs !== null) all.lease.set({ machine }, sinceMs / 1000)
    if (scratch === null) continue
    all.used.set({ machine }, scratch.usedBytes)
    all.ratio.set({ machine }, scratch.limitBytes === 0 ? 1 : scratch.usedBytes / scratch.limitBytes)
  }
  if (status.scratch !== null) {
    all.free.set(status.scratch.freeBytes)
    all.reserve.set(status.scratch.reserveBytes)
  }
  const { user, system } = process.cpuUsage()
  all.cpu.inc((user + system) / 1e6)
  all.memory.set(process.memoryUsage.rss())
  return await registry.metrics()
}
