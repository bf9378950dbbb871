// Commands about tokens of people and programs, and about enrolment tokens.
import { Option, type Command } from 'commander'
import { PERSON_ROLES, type PersonRole } from '../../protocol/claims.ts'
import { print, printJson } from '../../protocol/host/output.ts'
import { printList } from './listing.ts'
import { duration, rowsOption, subject, tenantOption, toGateway, wholeId, withDefault, type Common } from './options.ts'
import { checkTenant, ofTenant, withSession, withTenant } from './remote.ts'
import { timeText } from './report-points.ts'

interface IssueOptions extends Common {
  readonly role: PersonRole
  readonly subject: string
  readonly ttl: number
}

const addIssue = (token: Command): void => {
  const command = token
    .command('issue')
    .description('print a token (JWT) for a person or program, and nothing else')
    .addOption(tenantOption())
    .addOption(
      new Option('--role <role>', 'what its holder may do; "platform" needs no tenant')
        .choices(PERSON_ROLES)
        .makeOptionMandatory(),
    )
    .addOption(withDefault('--subject <name>', 'name of its holder, for the audit log', subject, 'administrator'))
    .addOption(
      withDefault('--ttl <duration>', 'how long it is valid, such as 15m, 8h or 7d; 90d at most', duration, '8h'),
    )
  toGateway(command).action(async (options: IssueOptions) => {
    const { subject: whose, role, ttl: ttlMs } = options
    if (role !== 'platform') checkTenant(options)
    await withSession(options, async (remote) => {
      const { peer, signal, tenant } = remote
      const issued = await peer.call(
        'tokens.issue',
        { ...ofTenant(remote, options), subject: whose, role, ttlMs },
        { signal },
      )
      printJson({ ...issued, tenant: tenant ?? options.tenant ?? null, subject: whose, role })
      if (!options.json) print(issued.token)
    })
  })
}

const addList = (token: Command): void => {
  const command = token
    .command('list')
    .description("list a tenant's tokens, or the platform's without --tenant; the tokens themselves are not stored")
    .addOption(tenantOption())
    .addOption(rowsOption())
  toGateway(command).action((options: Common & { limit?: number }) =>
    withSession(options, (remote) =>
      printList(
        options,
        (after) => remote.peer.call('tokens.list', { ...ofTenant(remote, options), after }, { signal: remote.signal }),
        {
          field: 'tokens',
          rowsOf: ({ tokens }) => tokens,
          heading: ['ID', 'SUBJECT', 'ROLE', 'ISSUED (UTC)', 'EXPIRES (UTC)', 'REVOKED (UTC)'],
          cells: ({ id, subject, role, createdMs, expiresMs, revokedMs }) => [
            id,
            subject,
            role,
            timeText(createdMs),
            timeText(expiresMs),
            timeText(revokedMs),
          ],
          none: 'There is no token.',
        },
      ),
    ),
  )
}

const addRevoke = (token: Command): void => {
  const command = token
    .command('revoke')
    .description('revoke a token: its sessions end within seconds and it opens no new ones')
    .argument('<id>', 'the id that "token list" shows', wholeId('token list'))
    .addOption(tenantOption())
  toGateway(command).action(async (id: string, options: Common) => {
    const revoked = await withSession(options, ({ peer, signal }) =>
      peer.call('tokens.revoke', { token: id }, { signal }),
    )
    printJson({ token: id, ...revoked })
    if (!options.json) print(`Token ${id} of ${revoked.subject} is revoked.`)
  })
}

const addEnrol = (program: Command): void => {
  const command = program
    .command('enrol')
    .description('print a one-time token for enrolling one agent, and nothing else')
    .addOption(tenantOption())
    .addOption(withDefault('--ttl <duration>', 'how long it is valid, such as 15m, 1h or 2d', duration, '1h'))
  toGateway(command).action(async (options: Common & { ttl: number }) => {
    const { ttl: ttlMs, tenant: named = null } = options
    await withTenant(options, async ({ peer, signal, tenant }) => {
      const params = tenant === null && named !== null ? { tenant: named, ttlMs } : { ttlMs }
      const issued = await peer.call('enrolments.issue', params, { signal })
      printJson({ ...issued, tenant: tenant ?? named })
      if (!options.json) print(issued.token)
    })
  })
}

/** Adds `token` and `enrol`. */
export const addTokenCommands = (program: Command): void => {
  const token = program.command('token').description('issue, list and revoke tokens of people and programs')
  addIssue(token)
  addList(token)
  addRevoke(token)
  addEnrol(program)
}
