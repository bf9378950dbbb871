// Commands about who may do what: tenants, enrolments, tokens, agents, and the audit log.
import { randomBytes, randomUUID } from 'node:crypto'
import { InvalidArgumentError, Option, type Command } from 'commander'
import { CHUNK_BYTES_DEFAULT, ID_KEY_BYTES, isChunkBytes } from '../../protocol/chunk.ts'
import { ROLES, type Role } from '../../protocol/claims.ts'
import { VarveError } from '../../protocol/errors.ts'
import { issueEnrolment, issueToken, LOCAL_ADMINISTRATOR } from '../auth/tokens.ts'
import { systemClock } from '../clock.ts'
import { durationMs } from '../../protocol/duration.ts'
import { NO_TENANT, print, printJson, printTable, tenantNamed, withAuthority, withCatalog } from './local.ts'
import { dataOption, duration, jsonOption, name, tenantOption, type Common } from './options.ts'
import { addQuotaCommand } from './quota.ts'

const chunkSize = (text: string): number => {
  const bytes = Number(text) * 1024
  if (!isChunkBytes(bytes)) throw new InvalidArgumentError('a power of two from 4 to 4096')
  return bytes
}

const addTenants = (program: Command): void => {
  const tenant = program.command('tenant').description('add and list tenants, set their quotas')
  addQuotaCommand(tenant)

  tenant
    .command('add')
    .description('add a tenant, with an id key of its own')
    .argument('<name>', 'letters, digits, dot, dash and underscore', name)
    .option('--chunk-size <KiB>', 'size of its chunks, fixed for ever', chunkSize, CHUNK_BYTES_DEFAULT)
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (tenantName: string, options: Common & { chunkSize: number }) => {
      const idKey = randomBytes(ID_KEY_BYTES)
      const wanted = { name: tenantName, uuid: randomUUID(), idKey, chunkBytes: options.chunkSize }
      const added = await withCatalog(
        options.data,
        (database) => database.call('tenant.add', { ...wanted, nowMs: systemClock.now() }),
        { make: true },
      )
      if (options.json) printJson({ name: added.name, id: added.uuid, chunkBytes: added.chunkBytes })
      else print(`Tenant ${added.name} added. Next: varve-gateway enrol --tenant ${added.name}`)
    })

  tenant
    .command('list')
    .description('list the tenants')
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (options: Common) => {
      const tenants = await withCatalog(options.data, (database) => database.call('tenant.list', {}))
      const rows = tenants.map(({ name: tenantName, uuid, chunkBytes, createdMs }) => ({
        name: tenantName,
        id: uuid,
        chunkBytes,
        created: new Date(createdMs).toISOString(),
      }))
      if (options.json) return printJson(rows)
      if (rows.length === 0) return print(NO_TENANT)
      printTable(
        ['NAME', 'CHUNK', 'CREATED'],
        rows.map((row) => [row.name, `${row.chunkBytes / 1024} KiB`, row.created]),
      )
    })
}

const addEnrol = (program: Command): void => {
  program
    .command('enrol')
    .description('print a one-time token with which one agent enrols, and nothing else')
    .addOption(tenantOption())
    .option('--ttl <duration>', 'how long it can be used, such as 15m, 1h or 2d', duration, durationMs('1h'))
    .addOption(dataOption())
    .action(async (options: Common & { ttl: number }) => {
      print(
        await withAuthority(options.data, async (authority) =>
          issueEnrolment(authority, {
            tenant: await tenantNamed(authority.database, options.tenant),
            ttlMs: options.ttl,
            nowMs: systemClock.now(),
            by: LOCAL_ADMINISTRATOR,
          }),
        ),
      )
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
    .option('--ttl <duration>', 'how long it holds, such as 15m, 8h or 7d', duration, durationMs('8h'))
    .addOption(dataOption())
    .action(async (options: Common & { role: Role; subject: string; ttl: number }) => {
      print(
        await withAuthority(options.data, async (authority) =>
          issueToken(authority, {
            tenant: await tenantNamed(authority.database, options.tenant),
            subject: options.subject,
            role: options.role,
            ttlMs: options.ttl,
            nowMs: systemClock.now(),
            by: LOCAL_ADMINISTRATOR,
          }),
        ),
      )
    })
}

const time = (ms: number | null): string | null => (ms === null ? null : new Date(ms).toISOString())

const addAgents = (program: Command): void => {
  const agent = program.command('agent').description('list and revoke agents')

  agent
    .command('list')
    .description("list a tenant's agents")
    .addOption(tenantOption())
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (options: Common) => {
      const agents = await withCatalog(options.data, async (database) =>
        database.call('agent.list', { tenant: (await tenantNamed(database, options.tenant)).id }),
      )
      const rows = agents.map(({ id, host, enrolledMs, seenMs, revokedMs }) => ({
        id,
        host,
        enrolled: time(enrolledMs),
        seen: time(seenMs),
        revoked: time(revokedMs),
      }))
      if (options.json) return printJson(rows)
      printTable(
        ['ID', 'HOST', 'ENROLLED', 'SEEN', 'REVOKED'],
        rows.map((row) => Object.values(row).map((cell) => cell ?? '-')),
      )
    })

  agent
    .command('revoke')
    .description('revoke an agent: its connection ends within seconds and it cannot come back')
    .argument('<id>', 'the id that "agent list" shows')
    .addOption(tenantOption())
    .addOption(dataOption())
    .action(async (id: string, options: Common) => {
      await withCatalog(options.data, async (database) =>
        database.call('agent.revoke', {
          tenant: (await tenantNamed(database, options.tenant)).id,
          id,
          nowMs: systemClock.now(),
          by: LOCAL_ADMINISTRATOR,
        }),
      )
      print(`Agent ${id} is revoked.`)
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
      const broken = await withCatalog(options.data, async (database) => {
        await using audit = new Audit({ database, onError: () => {} })
        return await audit.check()
      })
      if (options.json) printJson({ brokenSeq: broken })
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
