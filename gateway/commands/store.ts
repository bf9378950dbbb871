// Commands that keep the datastore: collection, verification, usage, check and repair.
import { Option, type Command } from 'commander'
import { VarveError } from '../../protocol/errors.ts'
import {
  anyTenantOption,
  dataOption,
  days,
  jsonOption,
  limitOption,
  machineOption,
  pointId,
  whole,
  wholeIds,
  withDefault,
  type CommonAll,
} from './options.ts'
import { folderProblems } from '../maintenance/folder-check.ts'
import { withCatalog } from './local.ts'
import { print } from '../../protocol/host/output.ts'
import { callLong } from './progress.ts'
import { addRepairCommand } from './repair.ts'
import { checkLines, collectionLines, isBroken, isDamaged, lacksRoom, usageLines, verifyLines } from './report-store.ts'
import type { Remote } from './remote.ts'
import { printEach, type OfTenant, type Printed } from './tenants.ts'

/** Packs with a smaller part of live bytes are rewritten, in percent, unless told otherwise. */
const THRESHOLD_DEFAULT_PERCENT = 90

const MIB = 1024 * 1024

const bytesPerSecond = ({ limit }: { readonly limit?: number }): number | null =>
  limit === undefined ? null : limit * MIB

const needsTenant = ({ tenant }: CommonAll, ...named: readonly unknown[]): void => {
  if (tenant === undefined && named.some((one) => one !== undefined))
    throw new VarveError('PARAMS_INVALID', 'a machine or a point needs its tenant: --tenant NAME')
}

/** Runs work for each tenant, prints what it gives, and says of which tenants it was bad news. */
const report = async <R extends object>(
  options: CommonAll,
  work: (remote: Remote, tenant: string) => Promise<R>,
  how: {
    readonly lines: (tenant: string, result: R) => string[]
    readonly bad?: (result: R) => boolean
    /** What the document holds besides the tenants. */
    readonly besides?: object
  },
): Promise<string[]> => {
  const bad: string[] = []
  const printed = ({ tenant, result }: OfTenant<R>): Printed => {
    if (how.bad?.(result) === true) bad.push(tenant)
    return { json: { tenant, ...result }, lines: () => how.lines(tenant, result) }
  }
  await printEach(options, work, printed, how.besides)
  return bad
}

interface CollectOptions extends CommonAll {
  readonly dryRun: boolean
  readonly threshold: number
  readonly acceptLoss?: readonly string[]
  readonly limit?: number
}

const addCollect = (program: Command): void => {
  program
    .command('gc')
    .description('garbage collection: give the space of what nothing refers to back, beside backups and restores')
    .addOption(anyTenantOption())
    .option('--dry-run', 'only look: what would go, and what it would free', false)
    .addOption(
      withDefault(
        '--threshold <percent>',
        'rewrite packs of which less than so much is live',
        whole(0, 100),
        String(THRESHOLD_DEFAULT_PERCENT),
      ),
    )
    .addOption(
      new Option(
        '--accept-loss <points...>',
        'whole ids of restore points: what only trees of theirs that cannot be read lead to may go for good; never held or locked ones',
      ).argParser(wholeIds),
    )
    .addOption(limitOption())
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (options: CollectOptions) => {
      const { dryRun, threshold: thresholdPercent, acceptLoss } = options
      needsTenant(options, acceptLoss)
      const params = {
        dryRun,
        thresholdPercent,
        bytesPerSecond: bytesPerSecond(options),
        ...(acceptLoss === undefined ? {} : { acceptLoss: [...acceptLoss] }),
      }
      const work = (remote: Remote, tenant: string) => callLong(remote, { tenant, name: 'store.collect', params })
      const bad = await report(options, work, { lines: collectionLines, bad: lacksRoom })
      if (bad.length > 0)
        throw new VarveError(
          'STORE_FULL',
          `there is too little free space to rewrite all packs of ${bad.join(', ')}: make room beside the datastore or prune more, and run gc again`,
        )
    })
}

const addVerify = (program: Command): void => {
  program
    .command('verify')
    .description('read restore points whole and compare; ends with 1 where damage is known')
    .addOption(anyTenantOption())
    .addOption(new Option('--point <id>', 'only this one').argParser(pointId))
    .addOption(machineOption('only those of this machine'))
    .addOption(
      new Option('--older-than <duration>', 'only those not verified for so long, such as 30d').argParser(days),
    )
    .addOption(limitOption())
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (options: CommonAll & { point?: string; machine?: string; olderThan?: number; limit?: number }) => {
      const { point, machine, olderThan } = options
      needsTenant(options, point, machine)
      const params = {
        point: point ?? null,
        machine: machine ?? null,
        olderThanDays: olderThan ?? null,
        bytesPerSecond: bytesPerSecond(options),
      }
      const work = (remote: Remote, tenant: string) => callLong(remote, { tenant, name: 'store.verify', params })
      const bad = await report(options, work, { lines: verifyLines, bad: isDamaged })
      if (bad.length > 0) throw new VarveError('DATA_DAMAGED', `there is damage in the packs of ${bad.join(', ')}`)
    })
}

const addUsage = (program: Command): void => {
  program
    .command('usage')
    .description('what tenants, machines, disks and restore points take; PROTOCOL.md 7.2 says how the figures add up')
    .addOption(anyTenantOption())
    .addOption(machineOption('only this machine'))
    .option('--points', 'a line for each restore point as well', false)
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (options: CommonAll & { machine?: string; points: boolean }) => {
      needsTenant(options, options.machine)
      const params = { machine: options.machine ?? null, points: options.points }
      const work = (remote: Remote, tenant: string) => callLong(remote, { tenant, name: 'store.usage', params })
      await report(options, work, { lines: usageLines })
    })
}

/** What is wrong with the data folder as a whole, which is printed. */
const checkFolder = async ({ data, json }: CommonAll): Promise<string[]> => {
  const problems = await withCatalog(data, (catalog) => folderProblems(data, catalog))
  if (!json) problems.forEach(print)
  return problems
}

/** Compares packs, index and catalog of each tenant; DATA_DAMAGED where they do not agree. */
const check = async (options: CommonAll & { readonly limit?: number }): Promise<void> => {
  const params = { bytesPerSecond: bytesPerSecond(options) }
  const problems = options.tenant === undefined ? await checkFolder(options) : []
  const work = (remote: Remote, tenant: string) => callLong(remote, { tenant, name: 'store.check', params })
  const bad = await report(options, work, { lines: checkLines, bad: isBroken, besides: { problems } })
  if (problems.length > 0) throw new VarveError('DATA_DAMAGED', `packs and catalog do not agree: ${problems[0]!}`)
  if (bad.length > 0)
    throw new VarveError('DATA_DAMAGED', `packs, index and catalog do not agree for ${bad.join(', ')}`)
}

/** Adds `gc`, `verify`, `usage` and `repair`. */
export const addStoreCommands = (program: Command): void => {
  addCollect(program)
  addVerify(program)
  addUsage(program)
  addRepairCommand(program, check)
}
