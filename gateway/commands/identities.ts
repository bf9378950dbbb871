// Commands about who may do what: tenants, enrolments, tokens, agents, and the audit log.
import type { Tenant } from '../catalog/tenants.ts'
import { randomBytes, randomUUID } from 'node:crypto'
import { InvalidArgumentError, Option, type Command } from 'commander'
import { CHUNK_BYTES_DEFAULT, ID_KEY_BYTES, isChunkBytes } from '../../protocol/chunk.ts'
import { ROLES, type Role } from '../../protocol/claims.ts'
import { VarveError } from '../../protocol/errors.ts'
import { issueEnrolment, issueToken } from '../auth/tokens.ts'
import { systemClock } from '../../protocol/host/clock.ts'
import { NO_TENANT, tenantNamed, withAuthority, withCatalog } from './local.ts'
import { print, printJson, printTable } from '../../protocol/host/output.ts'
import { agentId, dataOption, duration, jsonOption, name, tenantOption, withDefault, type Common } from './options.ts'
import { addQuotaCommand } from './quota.ts'
import { connectedAgents } from './remote.ts'
import { timeText } from './report-points.ts'

const chunkSize = (text: string): number => {
  const bytes = /^\d{1,4}$/u.test(text) ? Number(text) * 1024 : Number.NaN
  if (!isChunkBytes(bytes)) throw new InvalidArgumentError('It takes a power of two from 4 to 4096 (KiB).')
  return bytes
}

const tenantView = ({ name: tenantName, id, chunkBytes, createdMs }: Tenant): object => ({
  name: tenantName,
  id,
  chunkBytes,
  createdMs,
})

const addTenants = (program: Command): void => {
  const tenant = program.command('tenant').description('add and list tenants, set their quotas')
  addQuotaCommand(tenant)

  tenant
    .command('add')
    .description('add a tenant, with an id key of its own')
    .argument('<name>', 'letters, digits, dot, dash and underscore', name)
    .addOption(
      withDefault(
        '--chunk-size <KiB>',
        'size of its chunks, fixed for ever',
        chunkSize,
        String(CHUNK_BYTES_DEFAULT / 1024),
      ),
    )
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (tenantName: string, options: Common & { chunkSize: number }) => {
      const idKey = randomBytes(ID_KEY_BYTES)
      const wanted = { id: randomUUID(), name: tenantName, idKey, chunkBytes: options.chunkSize }
      const added = await withCatalog(
        options.data,
        (catalog) => catalog.tenants.add({ ...wanted, nowMs: systemClock.now() }),
        { make: true },
      )
      printJson({ tenant: tenantView(added) })
      if (!options.json) print(`Tenant ${added.name} added. Next: varve-gateway enrol --tenant ${added.name}`)
    })

  tenant
    .command('list')
    .description('list the tenants')
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (options: Common) => {
      const tenants = await withCatalog(options.data, (catalog) => catalog.tenants.list())
      if (options.json) return printJson({ tenants: tenants.map(tenantView) })
      if (tenants.length === 0) return print(NO_TENANT)
      printTable(
        ['NAME', 'CHUNK', 'CREATED'],
        tenants.map((row) => [row.name, `${row.chunkBytes / 1024} KiB`, timeText(row.createdMs)]),
      )
    })
}

const addEnrol = (program: Command): void => {
  program
    .command('enrol')
    .description('print a one-time token with which one agent enrols, and nothing else')
    .addOption(tenantOption())
    .addOption(withDefault('--ttl <duration>', 'how long it can be used, such as 15m, 1h or 2d', duration, '1h'))
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async ({ data, tenant, ttl, json }: Common & { ttl: number }) => {
      const token = await withAuthority(data, async (authority) =>
        issueEnrolment(authority, {
          tenant: await tenantNamed(authority.catalog, tenant),
          ttlMs: ttl,
          nowMs: systemClock.now(),
        }),
      )
      printJson({ token: token.token, tenant, expiresMs: token.expiresMs })
      if (!json) print(token.token)
    })
}

const addToken = (program: Command): void => {
  program
    .command('token')
    .description('print a token (JWT) for a person or program, and nothing else')
    .addOption(tenantOption())
    .addOption(
      new Option('--role <role>', 'what its holder may do')
        .choices(ROLES.filter((role) => role !== 'agent'))
        .makeOptionMandatory(),
    )
    .option('--subject <name>', 'whose it is, for the audit log', 'administrator')
    .addOption(withDefault('--ttl <duration>', 'how long it holds, such as 15m, 8h or 7d', duration, '8h'))
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(
      async ({ data, tenant, role, subject, ttl, json }: Common & { role: Role; subject: string; ttl: number }) => {
        const token = await withAuthority(data, async (authority) =>
          issueToken(authority, {
            tenant: await tenantNamed(authority.catalog, tenant),
            subject,
            role,
            ttlMs: ttl,
            nowMs: systemClock.now(),
          }),
        )
        printJson({ token: token.token, tenant, subject, role, expiresMs: token.expiresMs })
        if (!json) print(token.token)
      },
    )
}

const seenText = ({ online, seenMs }: { readonly online: boolean; readonly seenMs: number | null }): string => {
  if (online) return 'connected'
  return seenMs === null ? 'never' : timeText(seenMs)
}

const addAgents = (program: Command): void => {
  const agent = program.command('agent').description('list and revoke agents')

  agent
    .command('list')
    .description("list a tenant's agents, and when each was connected last")
    .addOption(tenantOption())
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (options: Common) => {
      const agents = await withCatalog(options.data, async (catalog) =>
        catalog.agents.list({ tenant: (await tenantNamed(catalog, options.tenant)).id, after: null, limit: 1000 }),
      )
      const online = await connectedAgents(options)
      const rows = agents.map(({ id, host, enrolledMs, seenMs, revokedMs }) => ({
        id,
        host,
        enrolledMs,
        seenMs,
        revokedMs,
        online: online.has(id),
      }))
      if (options.json) return printJson({ agents: rows })
      if (rows.length === 0)
        return print(`There is no agent yet; varve-gateway enrol --tenant ${options.tenant} makes a token for one.`)
      printTable(
        ['ID', 'HOST', 'ENROLLED (UTC)', 'SEEN (UTC)', 'REVOKED (UTC)'],
        rows.map((row) => [row.id, row.host, timeText(row.enrolledMs), seenText(row), timeText(row.revokedMs)]),
      )
    })

  agent
    .command('revoke')
    .description('revoke an agent: its connection ends within seconds and it cannot come back')
    .argument('<id>', 'the id that "agent list" shows', agentId)
    .addOption(tenantOption())
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (id: string, options: Common) => {
      const { host, revokedMs } = await withCatalog(options.data, async (catalog) =>
        catalog.agents.revoke({
          tenant: (await tenantNamed(catalog, options.tenant)).id,
          id,
          nowMs: systemClock.now(),
        }),
      )
      printJson({ agent: id, host, revokedMs })
      if (!options.json) print(`Agent ${id} is revoked.`)
    })
}

const addAudit = (program: Command): void => {
  program
    .command('audit')
    .description('check the audit log from its first entry to its last')
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (options: Common) => {
      const { Audit } = await import('../auth/audit.ts')
      const broken = await withCatalog(options.data, async (catalog) => {
        await using audit = new Audit({ catalog, onError: () => {} })
        return (await audit.check()).brokenSeq
      })
      printJson({ brokenSeq: broken })
      if (broken !== null)
        throw new VarveError('DATA_DAMAGED', `the audit log is not as it was written from entry ${broken} on`)
      if (!options.json) print('The audit log is whole.')
    })
}

/** Adds `tenant`, `enrol`, `token`, `agent` and `audit`. */
export const addIdentityCommands = (program: Command): void => {
  addTenants(program)
  addEnrol(program)
  addToken(program)
  addAgents(program)
  addAudit(program)
}
