// Commands about agents: list and revoke them, and put them into sites.
import type { Command } from 'commander'
import { VarveError } from '../../protocol/errors.ts'
import { print, printJson } from '../../protocol/host/output.ts'
import { printList } from './listing.ts'
import { name, rowsOption, tenantOption, toGateway, wholeId, type Common } from './options.ts'
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
        heading: ['ID', 'HOST', 'SITE', 'ENROLLED (UTC)', 'SEEN (UTC)', 'REVOKED (UTC)'],
        cells: (row) => [
          row.id,
          row.host,
          row.site ?? '-',
          timeText(row.enrolledMs),
          seenText(row),
          timeText(row.revokedMs),
        ],
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

const addSite = (agent: Command): void => {
  const command = agent
    .command('site')
    .description('put an agent into a site, whose agents hand machines that move over to one another')
    .argument('<id>', 'the id that "agent list" shows', wholeId('agent list'))
    .argument('[name]', 'the site: letters, digits, dot, dash and underscore', name)
    .option('--none', 'take it out of its site')
    .addOption(tenantOption())
  toGateway(command).action(async (id: string, given: string | undefined, options: Common & { none?: true }) => {
    if ((given === undefined) !== (options.none === true))
      throw new VarveError('CONFIG_INVALID', 'name a site, or say --none to take the agent out of its own')
    const site = given ?? null
    const answer = await withTenant(options, ({ peer, signal }) =>
      peer.call('agents.setSite', { agent: id, site }, { signal }),
    )
    printJson({ agent: id, site, ...answer })
    if (options.json) return
    if (!answer.changed)
      print(`Agent ${id} ${site === null ? 'is in no site' : `is in site ${site}`} already: nothing was changed.`)
    else if (site === null)
      print(`Agent ${id} is in no site any more: it takes no machine over, and none is taken from it.`)
    else
      print(`Agent ${id} is in site ${site}: its machines may be taken over by agents of that site, and theirs by it.`)
  })
}

/** Adds `agent`. */
export const addAgentCommands = (program: Command): void => {
  const agent = program.command('agent').description('list and revoke agents, and put them into sites')
  addList(agent)
  addRevoke(agent)
  addSite(agent)
}
