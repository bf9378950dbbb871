// Commands about tenants: add and list them, and set their quotas.
import { InvalidArgumentError, type Command } from 'commander'
import { CHUNK_BYTES_DEFAULT, isChunkBytes } from '../../protocol/chunk.ts'
import { VarveError } from '../../protocol/errors.ts'
import { print, printJson } from '../../protocol/host/output.ts'
import { sizeText } from '../../protocol/host/size.ts'
import type { Asked } from '../../protocol/methods.ts'
import type { TenantView } from '../../protocol/tenant-methods.ts'
import { printList } from './listing.ts'
import { name, rowsOption, size, toGateway, withDefault, type Common } from './options.ts'
import { withSession, type Remote } from './remote.ts'
import { timeText } from './report-points.ts'

/** For a datastore without any tenant. */
export const NO_TENANT = 'There is no tenant yet; add one with: varve-gateway tenant add NAME'

const chunkSize = (text: string): number => {
  const bytes = /^\d{1,4}$/u.test(text) ? Number(text) * 1024 : Number.NaN
  if (!isChunkBytes(bytes)) throw new InvalidArgumentError('It takes a power of two from 4 to 4096 (KiB).')
  return bytes
}

const addAdd = (tenant: Command): void => {
  const command = tenant
    .command('add')
    .description('add a tenant with its own id key')
    .argument('<name>', 'letters, digits, dot, dash and underscore', name)
    .addOption(
      withDefault(
        '--chunk-size <KiB>',
        'size of its chunks; cannot be changed later',
        chunkSize,
        String(CHUNK_BYTES_DEFAULT / 1024),
      ),
    )
    .option('--no-plan', 'without a first plan: nothing is backed up by itself, every restore point stays')
  toGateway(command).action(async (tenantName: string, options: Common & { chunkSize: number; plan: boolean }) => {
    const params = { tenant: tenantName, chunkBytes: options.chunkSize, firstPlan: options.plan }
    // the first tenant makes the datastore
    const added = await withSession(options, ({ peer, signal }) => peer.call('tenants.add', params, { signal }), {
      make: true,
    })
    printJson(added)
    if (options.json) return
    print(`Tenant ${tenantName} added. Next: varve-gateway enrol --tenant ${tenantName}`)
    if (added.plan === null) return print('It has no plan: make one with "varve-gateway plan set".')
    print(`Plan "${added.plan.name}": all its machines are backed up every night between 01:00 and 04:00`)
    print(`(${added.plan.timeZone}); points are kept for 14 days, 8 weeks and 12 months and verified every 30 days.`)
    print(`To turn it off: varve-gateway plan disable ${added.plan.name} --tenant ${tenantName}`)
  })
}

const addList = (tenant: Command): void => {
  const command = tenant.command('list').description('list the tenants').addOption(rowsOption())
  toGateway(command).action((options: Common & { limit?: number }) =>
    withSession(options, ({ peer, signal }) =>
      printList(options, (after) => peer.call('tenants.list', { after }, { signal }), {
        field: 'tenants',
        rowsOf: ({ tenants }) => tenants,
        heading: ['NAME', 'CHUNK', 'PACKS', 'HARD QUOTA', 'CREATED (UTC)'],
        cells: ({ name: of, chunkBytes, packBytes, quota, createdMs }) => [
          of,
          `${chunkBytes / 1024} KiB`,
          sizeText(packBytes),
          quota.hardBytes === null ? '-' : sizeText(quota.hardBytes),
          timeText(createdMs),
        ],
        none: NO_TENANT,
      }),
    ),
  )
}

interface QuotaOptions extends Common {
  /** False where it is to be removed. */
  readonly soft?: number | false
  readonly hard?: number | false
  readonly none: boolean
}

type Quotas = Omit<Asked<'tenants.setQuota'>, 'tenant'>

/** The changes of a command; null for one that only shows the quotas. PARAMS_INVALID. */
export const wanted = ({ soft, hard, none }: Pick<QuotaOptions, 'soft' | 'hard' | 'none'>): Quotas | null => {
  if (soft === undefined && hard === undefined) return none ? { softBytes: null, hardBytes: null } : null
  if (none) throw new VarveError('PARAMS_INVALID', '--none removes both quotas: give it alone')
  return {
    ...(soft === undefined ? {} : { softBytes: soft === false ? null : soft }),
    ...(hard === undefined ? {} : { hardBytes: hard === false ? null : hard }),
  }
}

const text = (bytes: number | null): string => (bytes === null ? 'none' : sizeText(bytes))

const quotaOf = async ({ peer, signal }: Remote, tenant: string, change: Quotas | null): Promise<TenantView> => {
  if (change !== null) return (await peer.call('tenants.setQuota', { tenant, ...change }, { signal })).tenant
  return (await peer.call('tenants.list', { tenant }, { signal })).tenants[0]!
}

const addQuota = (tenant: Command): void => {
  const command = tenant
    .command('quota')
    .description('show or set how much of the disk a tenant may take; a running gateway applies it within seconds')
    .argument('<name>', 'the tenant', name)
    .option('--soft <size>', 'beyond it the log and "usage" warn, such as 400G', size)
    .option('--hard <size>', 'beyond it backups are refused, such as 500G or 2T', size)
    .option('--no-soft', 'remove the soft quota')
    .option('--no-hard', 'remove the hard quota')
    .option('--none', 'remove both quotas', false)
  toGateway(command).action(async (tenantName: string, options: QuotaOptions) => {
    const change = wanted(options)
    const { packBytes, quota } = await withSession(options, (remote) => quotaOf(remote, tenantName, change))
    printJson({ tenant: tenantName, packBytes, quota })
    if (options.json) return
    const { softBytes, hardBytes } = quota
    print(`${tenantName}: ${sizeText(packBytes)} used; soft quota ${text(softBytes)}, hard quota ${text(hardBytes)}`)
  })
}

/** Adds `tenant`. */
export const addTenantCommands = (program: Command): void => {
  const tenant = program.command('tenant').description('add and list tenants, set their quotas')
  addAdd(tenant)
  addList(tenant)
  addQuota(tenant)
}
