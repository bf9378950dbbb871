// Commands that keep the datastore: collection, verification, usage and check.
import { Option, type Command } from 'commander'
import { VarveError } from '../../protocol/errors.ts'
import { print } from '../../protocol/host/output.ts'
import {
  anyTenantOption,
  days,
  machineOption,
  pointId,
  rateOption,
  toGateway,
  whole,
  wholeIds,
  withDefault,
  type Common,
} from './options.ts'
import { printEach } from './over-tenants.ts'
import { callLong } from './progress.ts'
import type { Reached } from './remote.ts'
import { checkLines, collectionLines, isBroken, isDamaged, lacksRoom, usageLines, verifyLines } from './report-store.ts'

/** Default threshold: packs with a smaller share of live bytes are rewritten, in percent. */
const THRESHOLD_DEFAULT_PERCENT = 90

const MIB = 1024 * 1024

const bytesPerSecond = ({ limit }: { readonly limit?: number }): number | null =>
  limit === undefined ? null : limit * MIB

interface CollectOptions extends Common {
  readonly dryRun: boolean
  readonly threshold: number
  readonly acceptLoss?: readonly string[]
  readonly limit?: number
}

const addCollect = (program: Command): void => {
  const command = program
    .command('gc')
    .description('garbage collection: reclaim unreferenced space, beside backups and restores')
    .addOption(anyTenantOption())
    .option('--dry-run', 'only show what would be removed, and how much that frees', false)
    .addOption(
      withDefault(
        '--threshold <percent>',
        'rewrite packs with a smaller share of live bytes',
        whole(0, 100),
        String(THRESHOLD_DEFAULT_PERCENT),
      ),
    )
    .addOption(
      new Option(
        '--accept-loss <points...>',
        'complete ids of restore points: gives up for good what only their unreadable trees refer to; never held or locked ones',
      ).argParser(wholeIds),
    )
    .addOption(rateOption())
  toGateway(command).action(async (options: CollectOptions) => {
    const { dryRun, threshold: thresholdPercent, acceptLoss } = options
    const params = {
      dryRun,
      thresholdPercent,
      bytesPerSecond: bytesPerSecond(options),
      ...(acceptLoss === undefined ? {} : { acceptLoss: [...acceptLoss] }),
    }
    const bad = await printEach(options, {
      ofOne: [acceptLoss],
      work: (remote, what) => callLong(remote, { what, name: 'store.collect', params }),
      lines: collectionLines,
      bad: lacksRoom,
    })
    if (bad.length > 0)
      throw new VarveError(
        'STORE_FULL',
        `there is too little free space to rewrite all packs of ${bad.join(', ')}: make room beside the datastore or prune more, and run gc again`,
      )
  })
}

interface VerifyOptions extends Common {
  readonly point?: string
  readonly machine?: string
  readonly olderThan?: number
  readonly limit?: number
}

const addVerify = (program: Command): void => {
  const command = program
    .command('verify')
    .description('read restore points whole and compare; ends with 1 where damage is known')
    .addOption(anyTenantOption())
    .addOption(new Option('--point <id>', 'only this one').argParser(pointId))
    .addOption(machineOption('only those of this machine'))
    .addOption(
      new Option('--older-than <duration>', 'only those not verified for this long, such as 30d').argParser(days),
    )
    .addOption(rateOption())
  toGateway(command).action(async (options: VerifyOptions) => {
    const { point, machine, olderThan } = options
    const params = {
      point: point ?? null,
      machine: machine ?? null,
      olderThanDays: olderThan ?? null,
      bytesPerSecond: bytesPerSecond(options),
    }
    const bad = await printEach(options, {
      ofOne: [point, machine],
      work: (remote, what) => callLong(remote, { what, name: 'store.verify', params }),
      lines: verifyLines,
      bad: isDamaged,
    })
    if (bad.length > 0) throw new VarveError('DATA_DAMAGED', `there is damage in the packs of ${bad.join(', ')}`)
  })
}

const addUsage = (program: Command): void => {
  const command = program
    .command('usage')
    .description('space used by tenants, machines, disks and restore points; PROTOCOL.md 7.2 explains the figures')
    .addOption(anyTenantOption())
    .addOption(machineOption('only this machine'))
    .option('--points', 'also a line for each restore point', false)
  toGateway(command).action(async (options: Common & { machine?: string; points: boolean }) => {
    const params = { machine: options.machine ?? null, points: options.points }
    await printEach(options, {
      ofOne: [options.machine],
      work: (remote, what) => callLong(remote, { what, name: 'store.usage', params }),
      lines: usageLines,
    })
  })
}

/** Compares packs, index and catalog of each tenant, and the data folder as a whole; DATA_DAMAGED where they do not agree. */
export const check = async (options: Common & { readonly limit?: number }): Promise<void> => {
  const params = { bytesPerSecond: bytesPerSecond(options) }
  let problems: readonly string[] = []
  const checkFolder = async (reached: Reached): Promise<{ problems: readonly string[] }> => {
    if (options.tenant === undefined && (reached.tenants === 'all' || reached.tenants.length === 0))
      problems = await reached.session(null, async ({ peer, signal }) => {
        const found = await peer.open('store.checkFolder', {}, { signal }).result
        return found.problems
      })
    if (!options.json) problems.forEach(print)
    // nothing else is printed to the platform, which sees no tenant's packs
    if (!options.json && problems.length === 0 && reached.tenants.length === 0)
      print("What belongs to no tenant is as it should be; a tenant's packs are checked with its own token.")
    return { problems }
  }
  const bad = await printEach(options, {
    work: (remote, what) => callLong(remote, { what, name: 'store.check', params }),
    lines: checkLines,
    bad: isBroken,
    first: checkFolder,
  })
  if (problems.length > 0) throw new VarveError('DATA_DAMAGED', `packs and catalog do not agree: ${problems[0]!}`)
  if (bad.length > 0)
    throw new VarveError('DATA_DAMAGED', `packs, index and catalog do not agree for ${bad.join(', ')}`)
}

/** Adds `gc`, `verify` and `usage`. */
export const addStoreCommands = (program: Command): void => {
  addCollect(program)
  addVerify(program)
  addUsage(program)
}
