#!/usr/bin/env node
// The varve-gateway program: its commands and their options.
import { randomBytes, randomUUID } from 'node:crypto'
import { Command, InvalidArgumentError, Option } from 'commander'
import * as v from 'valibot'
import { CHUNK_BYTES_DEFAULT, ID_KEY_BYTES, isChunkBytes } from '../protocol/chunk.ts'
import { READ_REASONS, CONSISTENCY_WISHES, type ConsistencyWish, type ReadReason } from '../protocol/backup.ts'
import { ROLES, type Role } from '../protocol/claims.ts'
import { asVarveError, VarveError } from '../protocol/errors.ts'
import { EXIT, exitCode } from '../protocol/exit.ts'
import { name as nameSchema } from '../protocol/schemas.ts'
import { issueEnrolment, issueToken, LOCAL_ADMINISTRATOR } from './auth/tokens.ts'
import { systemClock } from './clock.ts'
import { durationMs } from './commands/duration.ts'
import {
  DATA_DEFAULT,
  print,
  printJson,
  printTable,
  tenantNamed,
  withAuthority,
  withCatalog,
} from './commands/local.ts'
import { LOG_LEVELS, serve, type ServeOptions } from './commands/serve.ts'
import { policyOf } from './jobs/views.ts'

const name = (text: string): string => {
  const checked = v.safeParse(nameSchema, text)
  if (!checked.success) throw new InvalidArgumentError(checked.issues[0].message)
  return checked.output
}

const duration = (text: string): number => {
  try {
    return durationMs(text)
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message)
  }
}

const chunkSize = (text: string): number => {
  const bytes = Number(text) * 1024
  if (!isChunkBytes(bytes)) throw new InvalidArgumentError('a power of two from 4 to 4096')
  return bytes
}

const dataOption = (): Option =>
  new Option('--data <dir>', 'the data folder of a running or stopped gateway').env('VARVE_DATA').default(DATA_DEFAULT)
const tenantOption = (): Option => new Option('--tenant <name>', 'the tenant').argParser(name).makeOptionMandatory()
const jsonOption = (): Option => new Option('--json', 'print JSON').default(false)

interface Common {
  readonly data: string
  readonly json: boolean
  readonly tenant: string
}

// everything in the data folder is for the gateway's own user, also in a folder that others may enter
process.umask(0o077)

const program = new Command('varve-gateway')
  .description('The gateway of Varve: stores and serves backups of QEMU/KVM machines.')
  .version('0.1.0')
  .configureOutput({ writeErr: (text) => process.stderr.write(text) })
  .exitOverride((error) => process.exit(error.exitCode === 0 ? EXIT.ok : EXIT.usage))
  .showHelpAfterError('(--help shows the usage)')

program
  .command('serve')
  .description('run the gateway until it is told to stop; prints its address, logs as JSON lines')
  .addOption(new Option('--data <dir>', `the data folder, made if needed (default: ${DATA_DEFAULT})`).env('VARVE_DATA'))
  .option('--listen <host:port>', 'where to listen (default: 127.0.0.1:8470; port 0 takes a free one)')
  .option('--tls-cert <file>', 'certificate chain, PEM')
  .option('--tls-key <file>', 'private key of the certificate, PEM')
  .option('--insecure', 'allow plain connections on an address that is not loopback')
  .addOption(new Option('--log-level <level>', 'how much is logged (default: info)').choices(LOG_LEVELS))
  .option('--config <file>', 'TOML file with data, listen, tls_cert, tls_key, insecure, log_level')
  .action((options: ServeOptions) => serve(options))

const tenant = program.command('tenant').description('add and list tenants')

tenant
  .command('add')
  .description('add a tenant, with an id key of its own')
  .argument('<name>', 'letters, digits, dot, dash and underscore', name)
  .option('--chunk-size <KiB>', 'size of its chunks, fixed for ever', chunkSize, CHUNK_BYTES_DEFAULT)
  .addOption(dataOption())
  .addOption(jsonOption())
  .action(async (tenantName: string, options: Common & { chunkSize: number }) => {
    const added = await withCatalog(options.data, (database) =>
      database.call('tenant.add', {
        name: tenantName,
        uuid: randomUUID(),
        idKey: randomBytes(ID_KEY_BYTES),
        chunkBytes: options.chunkSize,
        nowMs: systemClock.now(),
      }),
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
    if (options.json) printJson(rows)
    else
      printTable(
        ['NAME', 'CHUNK', 'CREATED'],
        rows.map((row) => [row.name, `${row.chunkBytes / 1024} KiB`, row.created]),
      )
  })

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

const time = (ms: number | null): string | null => (ms === null ? null : new Date(ms).toISOString())

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

const machine = program.command('machine').description('list machines and give them to another agent')

machine
  .command('list')
  .description("list a tenant's machines and who serves them")
  .addOption(tenantOption())
  .addOption(dataOption())
  .addOption(jsonOption())
  .action(async (options: Common) => {
    const machines = await withCatalog(options.data, async (database) =>
      database.call('machine.list', { tenant: (await tenantNamed(database, options.tenant)).id, agent: null }),
    )
    const rows = machines.map(({ name: machineName, agent: id, host, pointMs }) => ({
      name: machineName,
      agent: id,
      host,
      lastPoint: pointMs === null ? null : new Date(pointMs).toISOString(),
    }))
    if (options.json) return printJson(rows)
    printTable(
      ['MACHINE', 'AGENT', 'HOST', 'LAST POINT'],
      rows.map((row) => Object.values(row).map((cell) => cell ?? '-')),
    )
  })

machine
  .command('assign')
  .description('give a machine, with its restore points, to another agent: after a move, or when a host was replaced')
  .argument('<machine>', 'the machine', name)
  .requiredOption('--agent <id>', 'the id that "agent list" shows')
  .addOption(tenantOption())
  .addOption(dataOption())
  .action(async (machineName: string, options: Common & { agent: string }) => {
    await withCatalog(options.data, async (database) => {
      const { id } = await tenantNamed(database, options.tenant)
      await database.call('machine.assign', {
        tenant: id,
        name: machineName,
        agent: options.agent,
        nowMs: systemClock.now(),
        by: LOCAL_ADMINISTRATOR,
      })
    })
    print(`Agent ${options.agent} serves ${machineName} from now on; its next backup is a full read.`)
  })

const list =
  <T extends string>(allowed: readonly T[]) =>
  (text: string): T[] =>
    text === 'none'
      ? []
      : text.split(',').map((part) => {
          const found = allowed.find((one) => one === part)
          if (found === undefined) throw new InvalidArgumentError(`"${part}" is none of: ${allowed.join(', ')}`)
          return found
        })

program
  .command('policy')
  .description("show or change a machine's policy")
  .argument('<machine>', 'the machine', name)
  .addOption(tenantOption())
  .addOption(new Option('--consistency <wish>', 'what to ask of the guest').choices([...CONSISTENCY_WISHES]))
  .option(
    '--refuse-full <reasons>',
    `reasons for which a full read is refused, with commas, or "none": ${READ_REASONS.slice(1).join(', ')}`,
    list(READ_REASONS),
  )
  .addOption(dataOption())
  .addOption(jsonOption())
  .action(async (machine: string, options: Common & { consistency?: ConsistencyWish; refuseFull?: ReadReason[] }) => {
    const policy = await withCatalog(options.data, async (database) => {
      const { id } = await tenantNamed(database, options.tenant)
      const row = await database.call('machine.get', { tenant: id, name: machine })
      const before = policyOf(row.policy)
      const after = {
        consistency: options.consistency ?? before.consistency,
        refuseFull: options.refuseFull ?? before.refuseFull,
      }
      if (options.consistency !== undefined || options.refuseFull !== undefined)
        await database.call('machine.setPolicy', { id: row.id, policy: JSON.stringify(after) })
      return after
    })
    if (options.json) printJson(policy)
    else
      print(
        `${machine}: consistency ${policy.consistency}; full reads refused for: ${policy.refuseFull.join(', ') || 'no reason'}`,
      )
  })

program
  .command('audit')
  .description('check the audit log from its first entry to its last')
  .addOption(dataOption())
  .addOption(jsonOption())
  .action(async (options: Common) => {
    const { Audit } = await import('./auth/audit.ts')
    const broken = await withCatalog(options.data, async (database) => {
      await using audit = new Audit({ database, onError: () => {} })
      return await audit.check()
    })
    if (options.json) printJson({ brokenSeq: broken })
    if (broken !== null)
      throw new VarveError('DATA_DAMAGED', `the audit log is not as it was written from entry ${broken} on`)
    if (!options.json) print('The audit log is whole.')
  })

try {
  await program.parseAsync()
} catch (thrown) {
  const { code, message } = asVarveError(thrown)
  process.stderr.write(`varve-gateway: ${message} (${code})\n`)
  process.exitCode = exitCode(code)
}
