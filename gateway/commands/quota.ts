// The quota command: shows or sets what a tenant's pack files may take.
import type { Command } from 'commander'
import { VarveError } from '../../protocol/errors.ts'
import { sizeText } from '../../protocol/host/size.ts'
import type { Quota } from '../catalog/tenants.ts'
import { tenantNamed, withCatalog } from './local.ts'
import { print, printJson } from '../../protocol/host/output.ts'
import { dataOption, jsonOption, name, size } from './options.ts'

interface QuotaOptions {
  /** False where it is to be removed. */
  readonly soft?: number | false
  readonly hard?: number | false
  readonly none: boolean
  readonly data: string
  readonly json: boolean
}

const changed = (wish: number | false | undefined, before: number | null): number | null =>
  wish === undefined ? before : wish === false ? null : wish

/** The quota after the command; null for one that only shows it. PARAMS_INVALID. */
export const wanted = (options: Pick<QuotaOptions, 'soft' | 'hard' | 'none'>, before: Quota): Quota | null => {
  const { soft, hard, none } = options
  if (soft === undefined && hard === undefined) return none ? { softBytes: null, hardBytes: null } : null
  if (none) throw new VarveError('PARAMS_INVALID', '--none removes both quotas: give it alone')
  const after = { softBytes: changed(soft, before.softBytes), hardBytes: changed(hard, before.hardBytes) }
  if (after.softBytes !== null && after.hardBytes !== null && after.softBytes > after.hardBytes)
    throw new VarveError('PARAMS_INVALID', 'the soft quota would be above the hard one')
  return after
}

const text = (bytes: number | null): string => (bytes === null ? 'none' : sizeText(bytes))

const quota = async (tenantName: string, options: QuotaOptions): Promise<void> => {
  const now = await withCatalog(options.data, async (catalog) => {
    const tenant = await tenantNamed(catalog, tenantName)
    const quotas = await catalog.quotas.list()
    const totals = await catalog.packs.totals()
    const { softBytes, hardBytes } = quotas.find((quota) => quota.tenant === tenant.id)!
    const usedBytes = totals.find((total) => total.tenant === tenant.id)?.bytes ?? 0
    const after = wanted(options, { softBytes, hardBytes })
    if (after !== null)
      await catalog.quotas.set({
        tenant: tenant.id,
        ...after,
      })
    return { tenant: tenantName, packBytes: usedBytes, quota: after ?? { softBytes, hardBytes } }
  })
  if (options.json) return printJson(now)
  const { softBytes, hardBytes } = now.quota
  print(`${tenantName}: ${sizeText(now.packBytes)} used; soft quota ${text(softBytes)}, hard quota ${text(hardBytes)}`)
}

/** Adds `tenant quota` to the group of commands of tenants. */
export const addQuotaCommand = (tenant: Command): void => {
  tenant
    .command('quota')
    .description('show or set how much of the disk a tenant may take; a running gateway takes it up within seconds')
    .argument('<name>', 'the tenant', name)
    .option('--soft <size>', 'past it the log and "usage" say so, such as 400G', size)
    .option('--hard <size>', 'past it backups are refused, such as 500G or 2T', size)
    .option('--no-soft', 'remove the soft quota')
    .option('--no-hard', 'remove the hard quota')
    .option('--none', 'remove both quotas', false)
    .addOption(dataOption())
    .addOption(jsonOption())
    .action((tenantName: string, options: QuotaOptions) => quota(tenantName, options))
}
