// Serves the state of the running agent to its host; what cannot be served is no reason to make no backups.
import type { Log } from '../../protocol/host/log.ts'
import type { Backups } from '../backup.ts'
import type { AgentConfig } from '../config.ts'
import type { TargetLeases } from '../leases/target-leases.ts'
import { lookAtAgent, type AgentStatus, type StatusParts } from './agent-status.ts'
import type { LinkRecord } from './link-record.ts'
import { serveMetrics, serveStatus } from './status-server.ts'

interface Uses extends Pick<StatusParts, 'journal' | 'traffic'> {
  readonly config: Pick<AgentConfig, 'state' | 'scratch_reserve' | 'metrics_listen'>
  readonly record: Pick<LinkRecord, 'state'>
  readonly backups: Pick<Backups, 'running' | 'ended'>
  readonly leases: Pick<TargetLeases, 'of'>
  readonly log: Log
}

/** The socket in the state folder, and the port of metrics where one is configured, until this is disposed of. */
export const openStatus = async ({ config, record, backups, leases, log, ...uses }: Uses): Promise<AsyncDisposable> => {
  const { state: stateFolder, scratch_reserve: reserveBytes, metrics_listen: listen } = config
  const startedMs = Date.now()
  const look = (): Promise<AgentStatus> =>
    lookAtAgent(
      {
        ...uses,
        link: () => record.state,
        running: () => backups.running(),
        leaseOf: (machine) => leases.of(machine),
        ended: () => backups.ended,
        stateFolder,
        reserveBytes,
      },
      startedMs,
    )
  await using resources = new AsyncDisposableStack()
  try {
    resources.use(await serveStatus(stateFolder, look))
    if (listen !== undefined) {
      const { url } = resources.use(await serveMetrics(listen, look))
      log.info({ url: `${url}/metrics` }, 'metrics are served')
    }
  } catch (error) {
    log.error({ err: error }, 'the state of the agent cannot be served on this host')
  }
  return resources.move()
}
