// The policy command: what a machine's backups must be, and the group whose rules of retention it shares.
import { InvalidArgumentError, Option, type Command } from 'commander'
import {
  CONSISTENCY_WISHES,
  LEFT_OUT_REASONS,
  READ_REASONS,
  type ConsistencyWish,
  type LeftOutReason,
  type ReadReason,
} from '../../protocol/backup.ts'
import { print, printJson } from '../../protocol/host/output.ts'
import type { Result } from '../../protocol/methods.ts'
import { GROUP_NONE } from '../../protocol/retention.ts'
import { COMPARE_DAYS_MAX } from '../../protocol/schemas.ts'
import { name, tenantOption, toGateway, type Common } from './options.ts'
import { withTenant, type Remote } from './remote.ts'

/** Reasons separated by commas, duplicates removed. */
const list =
  <T extends string>(allowed: readonly T[]) =>
  (text: string): T[] => {
    if (text === 'none') return []
    const reasons = text.split(',').map((part) => {
      const found = allowed.find((one) => one === part.trim())
      if (found === undefined) throw new InvalidArgumentError(`"${part}" is none of: ${allowed.join(', ')}`)
      return found
    })
    return [...new Set(reasons)]
  }

/** Reasons of full reads. */
const FULL_REASONS = READ_REASONS.filter((reason) => reason !== 'bitmap')

/** Days of `30d` or `30`; `never` stays, as an option has no value that is null. */
const compareDays = (text: string): number | 'never' => {
  if (text === 'never') return text
  const days = /^([1-9][0-9]{0,3})d?$/u.exec(text)?.[1]
  if (days === undefined || Number(days) > COMPARE_DAYS_MAX)
    throw new InvalidArgumentError(`"${text}" is neither "never" nor 1d to ${COMPARE_DAYS_MAX}d`)
  return Number(days)
}

interface PolicyOptions extends Common {
  readonly consistency?: ConsistencyWish
  readonly refuseFull?: ReadReason[]
  readonly refuseLeftOut?: LeftOutReason[]
  /** Days. */
  readonly compareEvery?: number | 'never'
  /** `none` takes the machine out of its group. */
  readonly group?: string
}

/** Changes what the options name, in one call, and returns the result. */
const configure = async (
  { peer, signal }: Remote,
  machine: string,
  { consistency, refuseFull, refuseLeftOut, compareEvery, group }: PolicyOptions,
): Promise<Result<'machines.configure'>> => {
  const policy = {
    ...(consistency === undefined ? {} : { consistency }),
    ...(refuseFull === undefined ? {} : { refuseFull }),
    ...(refuseLeftOut === undefined ? {} : { refuseLeftOut }),
    ...(compareEvery === undefined ? {} : { compareDays: compareEvery === 'never' ? null : compareEvery }),
  }
  const changes = {
    ...(Object.keys(policy).length === 0 ? {} : { policy }),
    ...(group === undefined ? {} : { group: group === GROUP_NONE ? null : group }),
  }
  if (Object.keys(changes).length > 0) return await peer.call('machines.configure', { machine, ...changes }, { signal })
  const { machines } = await peer.call('machines.list', { machine }, { signal })
  return { policy: machines[0]!.policy, group: machines[0]!.group, newGroup: false }
}

const words = (reasons: readonly string[]): string => reasons.join(', ') || 'no reason'

/** Adds `policy`. */
export const addPolicyCommand = (program: Command): void => {
  const command = program
    .command('policy')
    .description("show or change a machine's policy and group")
    .argument('<machine>', 'the machine', name)
    .addOption(tenantOption())
    .addOption(new Option('--consistency <wish>', 'what to require of the guest').choices([...CONSISTENCY_WISHES]))
    .option(
      '--refuse-full <reasons>',
      `reasons for which a full read is refused, separated by commas, or "none": ${FULL_REASONS.join(', ')}`,
      list(FULL_REASONS),
    )
    .option(
      '--refuse-left-out <reasons>',
      `reasons for which leaving a disk out is refused, separated by commas, or "none": ${LEFT_OUT_REASONS.join(', ')}`,
      list(LEFT_OUT_REASONS),
    )
    .option(
      '--compare-every <days>',
      'how often all unchanged blocks are read and compared, such as "30d", or "never"',
      compareDays,
    )
    .addOption(new Option('--group <name>', 'the group whose rules of retention it shares, or "none"').argParser(name))
    .addHelpText(
      'after',
      '\nExample: varve-gateway policy db1 --tenant acme --refuse-full bitmap-missing --group databases',
    )
  toGateway(command).action(async (machine: string, options: PolicyOptions) => {
    const { policy, group, newGroup } = await withTenant(options, (remote) => configure(remote, machine, options))
    printJson({ machine, policy, group, newGroup })
    if (options.json) return
    print(`${machine}: consistency ${policy.consistency}; group: ${group ?? 'none'}`)
    if (newGroup)
      print(`  the group "${group}" is new: no other machine is in it, and it has no rules of retention yet`)
    print(`  full reads refused for: ${words(policy.refuseFull)}`)
    print(`  disks that are left out refused for: ${words(policy.refuseLeftOut)}`)
    print(`  compared whole: ${policy.compareDays === null ? 'never' : `every ${policy.compareDays} days`}`)
  })
}
