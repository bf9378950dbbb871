// The repair command: compares packs with index and catalog, or builds these two from the packs again.
import type { Command } from 'commander'
import { VarveError } from '../../protocol/errors.ts'
import { interruption } from '../../protocol/host/interruption.ts'
import { openLog } from '../../protocol/host/log.ts'
import { print, printJson } from '../../protocol/host/output.ts'
import { ProgressLine } from '../../protocol/host/progress.ts'
import { checkOwner } from '../folder/owner.ts'
import { rebuild } from '../maintenance/rebuild.ts'
import { anyTenantOption, rateOption, toGateway, type Common } from './options.ts'
import { Meters, progressText } from './progress.ts'
import { placeOf } from './remote.ts'
import { isIncomplete, rebuildLines } from './report-rebuild.ts'
import { check } from './store.ts'

interface RepairOptions extends Common {
  readonly check: boolean
  readonly rebuild: boolean
  readonly acceptLoss: boolean
  readonly limit?: number
}

/** Rebuilds the catalog of a stopped gateway; DATA_DAMAGED, after the report, where something was not found again. */
const rebuildCatalog = async (options: RepairOptions): Promise<void> => {
  const { json, tenant, limit, acceptLoss } = options
  if (tenant !== undefined || limit !== undefined)
    throw new VarveError('PARAMS_INVALID', '--rebuild is for the whole data folder: give neither --tenant nor --limit')
  const place = placeOf(options)
  if (!('data' in place))
    throw new VarveError(
      'PARAMS_INVALID',
      '--rebuild is for the data folder of a stopped gateway: name it with --data DIR',
    )
  checkOwner(place.data)
  using interrupted = interruption()
  const log = openLog({ level: 'silent' })
  const work = async (): Promise<Awaited<ReturnType<typeof rebuild>>> => {
    const meters = new Meters()
    using line = new ProgressLine(process.stderr)
    return await rebuild({
      folder: place.data,
      log,
      signal: interrupted.signal,
      refuseLoss: !acceptLoss,
      onProgress: (one) => line.show(progressText('repair', one, meters.at(one, performance.now()))),
    })
  }
  const report = await work()
  printJson(report)
  if (!json) rebuildLines(report).forEach(print)
  if (isIncomplete(report)) throw new VarveError('DATA_DAMAGED', 'not everything was found again in the packs')
}

/** Adds `repair`. */
export const addRepairCommand = (program: Command): void => {
  const command = program
    .command('repair')
    .description('compare packs, index and catalog, or build index and catalog from the packs again')
    .option('--check', 'only look, also beside a running gateway', false)
    .option('--rebuild', 'build index and catalog again, while the gateway is stopped; the old catalog is kept', false)
    .option('--accept-loss', 'rebuild also where the old catalog has more than the packs give now', false)
    .addOption(anyTenantOption())
    .addOption(rateOption())
  toGateway(command).action(async (options: RepairOptions) => {
    if (options.check && options.acceptLoss) throw new VarveError('PARAMS_INVALID', '--accept-loss goes with --rebuild')
    if (options.check === options.rebuild) throw new VarveError('PARAMS_INVALID', 'give --check or --rebuild')
    await (options.check ? check(options) : rebuildCatalog(options))
  })
}
