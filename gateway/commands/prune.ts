// The prune command: removes the restore points that retention does not keep.
import { Option, type Command } from 'commander'
import { VarveError } from '../../protocol/errors.ts'
import type { Params } from '../../protocol/methods.ts'
import { KEEP_OFF } from '../../protocol/plans.ts'
import { isOff } from '../maintenance/retention.ts'
import { anyTenantOption, group as groupName, machineOption, pointId, toGateway, type Common } from './options.ts'
import { printEach } from './over-tenants.ts'
import { pruneLines } from './report-points.ts'
import { keepOf, keepOptions, type KeepOptions } from './keep-options.ts'

interface PruneOptions extends Common, KeepOptions {
  readonly machine?: string
  readonly group?: string
  readonly point?: string[]
  readonly dryRun: boolean
}

/** Adds `prune`. */
export const addPruneCommand = (program: Command): void => {
  const command = program
    .command('prune')
    .description('remove the restore points that retention does not keep; "gc" frees their space')
    .addOption(anyTenantOption())
    .addOption(machineOption('only this machine'))
    .addOption(new Option('--group <name>', 'only the machines of this group').argParser(groupName))
    .addOption(
      new Option('--point <id...>', 'remove just these, whatever the rules say').argParser(
        (text, before: string[] | undefined) => [...(before ?? []), pointId(text)],
      ),
    )
  keepOptions(command).option('--dry-run', 'only show what would stay, why, and what would go', false)
  toGateway(command).action(async (options: PruneOptions) => {
    const { machine, group, point, dryRun } = options
    const given = keepOf(options)
    const keep = { ...KEEP_OFF, ...given }
    const asked = Object.keys(given).length > 0 || options.timeZone !== undefined
    if (asked && isOff(keep))
      throw new VarveError(
        'PARAMS_INVALID',
        'rules that keep nothing by themselves keep everything: give a --keep option',
      )
    const params: Params<'points.prune'> = {
      machine: machine ?? null,
      group: group ?? null,
      plan: null,
      points: point ?? null,
      rules: asked ? { keep, timeZone: options.timeZone ?? 'UTC' } : null,
      dryRun,
    }
    await printEach(options, {
      ofOne: [machine, group, point],
      // a large tenant's plan may take long
      work: ({ peer, signal }) => peer.open('points.prune', params, { signal }).result,
      json: (result) => ({ dryRun, ...result }),
      lines: (tenant, result) => pruneLines(tenant, result, dryRun),
    })
  })
}
