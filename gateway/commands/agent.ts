// Commands about agents: list and revoke them.
import type { Command } from 'commander'
import { print, printJson } from '../../protocol/host/output.ts'
import { printList } from './listing.ts'
import { rowsOption, tenantOption, toGateway, wholeId, type Common } from './options.ts'
import { withTenant } from './remote.ts'
import { timeText } from './report-points.ts'

const seenText = ({ online, seenMs }: { readonly online: boolean; readonly seenMs: number | null }): string => {
  if (online) return 'connected'
  return seenMs === null ? 'never' : timeText(seenMs)
}

const addList = (agent: Command): void => {
  const command = agent
    .command('list')
    .description("list a tenant's agents, and when each was connected last")
    .addOption(tenantOption())
    .addOption(rowsOption())
  toGateway(command).action((options: Common & { limit?: number }) =>
    withTenant(options, ({ peer, signal }) =>
      printList(options, (after) => peer.call('agents.list', { after }, { signal }), {
        field: 'agents',
        rowsOf: ({ agents }) => agents,
        heading: ['ID', 'HOST', 'ENROLLED (UTC)', 'SEEN (UTC)', 'REVOKED (UTC)'],
        cells: (row) => [row.id, row.host, timeText(row.enrolledMs), seenText(row), timeText(row.revokedMs)],
        none: 'There is no agent yet; varve-gateway enrol makes a token for one.',
      }),
    ),
  )
}

const addRevoke = (agent: Command): void => {
  const command = agent
    .command('revoke')
    .description('revoke an agent: its connection ends within seconds and it cannot come back')
    .argument('<id>', 'the id that "agent list" shows', wholeId('agent list'))
    .addOption(tenantOption())
  toGateway(command).action(async (id: string, options: Common) => {
    const revoked = await withTenant(options, ({ peer, signal }) =>
      peer.call('agents.revoke', { agent: id }, { signal }),
    )
    printJson({ agent: id, ...revoked })
    if (!options.json) print(`Agent ${id} is revoked.`)
  })
}

/** Adds `agent`. */
export const addAgentCommands = (program: Command): void => {
  const agent = program.command('agent').description('list and revoke agents')
  addList(agent)
  addRevoke(agent)
}
