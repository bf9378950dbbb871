// The repair command: compares packs with index and catalog, or builds these two from the packs again.
import type { Command } from 'commander'
import { VarveError } from '../../protocol/errors.ts'
import { openLog } from '../../protocol/host/log.ts'
import { checkOwner } from '../folder/owner.ts'
import { rebuild } from '../maintenance/rebuild.ts'
import { interruption } from '../../protocol/host/interruption.ts'
import { print, printJson } from '../../protocol/host/output.ts'
import { anyTenantOption, dataOption, jsonOption, limitOption, type CommonAll } from './options.ts'
import { Meters, progressText } from './progress.ts'
import { ProgressLine } from '../../protocol/host/progress.ts'
import { isIncomplete, rebuildLines } from './report-rebuild.ts'

interface RepairOptions extends CommonAll {
  readonly check: boolean
  readonly rebuild: boolean
  readonly acceptLoss: boolean
  readonly limit?: number
}

/** Builds the catalog of a stopped gateway again; DATA_DAMAGED, after the report, where not everything was found again. */
const rebuildCatalog = async ({ data, json, tenant, limit, acceptLoss }: RepairOptions): Promise<void> => {
  if (tenant !== undefined || limit !== undefined)
    throw new VarveError('PARAMS_INVALID', '--rebuild is for the whole data folder: give neither --tenant nor --limit')
  checkOwner(data)
  using interrupted = interruption()
  const { signal } = interrupted
  const log = openLog({ level: 'silent' })
  const work = async (): Promise<Awaited<ReturnType<typeof rebuild>>> => {
    const meters = new Meters()
    using line = new ProgressLine(process.stderr)
    return await rebuild({
      folder: data,
      log,
      signal,
      refuseLoss: !acceptLoss,
      onProgress: (one) => line.show(progressText('repair', one, meters.at(one, performance.now()))),
    })
  }
  const report = await work()
  printJson(report)
  if (!json) rebuildLines(report).forEach(print)
  if (isIncomplete(report)) throw new VarveError('DATA_DAMAGED', 'not everything was found again in the packs')
}

/** Adds `repair`, which checks with the function given. */
export const addRepairCommand = (program: Command, check: (options: RepairOptions) => Promise<void>): void => {
  program
    .command('repair')
    .description('compare packs, index and catalog, or build index and catalog from the packs again')
    .option('--check', 'only look, also beside a running gateway', false)
    .option('--rebuild', 'build index and catalog again, while the gateway is stopped; the old catalog is kept', false)
    .option('--accept-loss', 'rebuild also where the old catalog has more than the packs give now', false)
    .addOption(anyTenantOption())
    .addOption(limitOption())
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (options: RepairOptions) => {
      if (options.check && options.acceptLoss)
        throw new VarveError('PARAMS_INVALID', '--accept-loss goes with --rebuild')
      if (options.check === options.rebuild)
        throw new VarveError('PARAMS_INVALID', 'say what to do: --check or --rebuild')
      await (options.check ? check(options) : rebuildCatalog(options))
    })
}
