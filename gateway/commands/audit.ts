// Commands about the audit log: list its entries and check that they are unchanged.
import type { Command } from 'commander'
import { VarveError } from '../../protocol/errors.ts'
import { print, printJson } from '../../protocol/host/output.ts'
import { printList } from './listing.ts'
import { rowsOption, tenantOption, toGateway, type Common } from './options.ts'
import { callLong } from './progress.ts'
import { outsideTenants, withSession } from './remote.ts'
import { timeText } from './report-points.ts'

const addList = (audit: Command): void => {
  const command = audit
    .command('list')
    .description("print a tenant's entries, oldest first; without --tenant those of no tenant")
    .addOption(tenantOption())
    .addOption(rowsOption())
  toGateway(command).action((options: Common & { limit?: number }) =>
    withSession(options, ({ peer, signal, tenant }) => {
      if (tenant === null && options.tenant !== undefined) throw outsideTenants()
      return printList(options, (after) => peer.call('audit.list', { after }, { signal }), {
        field: 'entries',
        rowsOf: ({ entries }) => entries,
        heading: ['ENTRY', 'TIME (UTC)', 'WHO', 'ROLE', 'ACTION', 'ABOUT', 'OUTCOME', 'DETAILS'],
        cells: ({ seq, timeMs, subject, role, action, resource, outcome, details }) => [
          String(seq),
          timeText(timeMs),
          subject || '-',
          role || '-',
          action,
          resource || '-',
          outcome,
          details === '{}' ? '' : details,
        ],
        none: 'There is no entry yet.',
      })
    }),
  )
}

const addCheck = (audit: Command): void => {
  const command = audit
    .command('check')
    .description('check the audit log of all tenants from its first entry to its last')
  toGateway(command).action(async (options: Common) => {
    const { entries, brokenSeq } = await withSession(options, (remote) =>
      callLong(remote, { what: 'audit log', name: 'audit.check', params: {} }),
    )
    printJson({ entries, brokenSeq })
    if (brokenSeq !== null) throw new VarveError('DATA_DAMAGED', `the audit log was changed from entry ${brokenSeq} on`)
    if (!options.json) print(`The audit log is whole: ${entries} entries.`)
  })
}

/** Adds `audit`. */
export const addAuditCommands = (program: Command): void => {
  const audit = program.command('audit').description('read and check the audit log')
  addList(audit)
  addCheck(audit)
}
