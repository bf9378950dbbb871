// Commands that decide which plan a machine belongs to, or to none: its group, and exclusions.
import { InvalidArgumentError, Option, type Command } from 'commander'
import * as v from 'valibot'
import { systemClock } from '../../protocol/host/clock.ts'
import { print, printJson } from '../../protocol/host/output.ts'
import { EXCLUSION_CHARS_MAX, exclusionReason } from '../../protocol/plans.ts'
import { GROUP_NONE } from '../../protocol/retention.ts'
import { name, tenantOption, toGateway, type Common } from './options.ts'
import { timeOf } from './points.ts'
import { withTenant } from './remote.ts'
import { timeText } from './report-points.ts'

interface ExcludeOptions extends Common {
  readonly reason: string
  readonly until?: number
}

const reasonOf = (text: string): string => {
  const checked = v.safeParse(exclusionReason, text.trim())
  if (checked.success) return checked.output
  throw new InvalidArgumentError(`It takes a text of 1 to ${EXCLUSION_CHARS_MAX} characters.`)
}

const addExclude = (machine: Command): void => {
  const command = machine
    .command('exclude')
    .description('leave a machine out of its plan on purpose: nothing is started for it and no freshness is watched')
    .argument('<machine>', 'the machine', name)
    .requiredOption('--reason <text>', 'why, for those who wonder', reasonOf)
    .addOption(
      new Option(
        '--until <time>',
        'when it ends by itself: a date, a date with time and zone, or a duration',
      ).argParser((text) => timeOf(text, systemClock.now())),
    )
    .addOption(tenantOption())
  toGateway(command).action(async (machineName: string, { reason, until, ...options }: ExcludeOptions) => {
    const untilMs = until ?? null
    const answer = await withTenant(options, ({ peer, signal }) =>
      peer.call('machines.exclude', { machine: machineName, reason, untilMs }, { signal }),
    )
    printJson({ machine: machineName, ...answer })
    if (options.json) return
    const end = untilMs === null ? `"machine include ${machineName}" ends it` : `it ends ${timeText(untilMs)} UTC`
    print(`${machineName} is excluded: ${reason}; ${end}. Its restore points stay under the rules of its plan.`)
  })
}

const addInclude = (machine: Command): void => {
  const command = machine
    .command('include')
    .description('end the exclusion of a machine')
    .argument('<machine>', 'the machine', name)
    .addOption(tenantOption())
  toGateway(command).action(async (machineName: string, options: Common) => {
    const { changed } = await withTenant(options, ({ peer, signal }) =>
      peer.call('machines.include', { machine: machineName }, { signal }),
    )
    printJson({ machine: machineName, changed })
    if (!options.json)
      print(changed ? `${machineName} is excluded no more.` : `${machineName} was not excluded: nothing was changed.`)
  })
}

const addGroup = (machine: Command): void => {
  const command = machine
    .command('group')
    .description('put a machine into a group, which plans can cover, or with "none" into no group')
    .argument('<machine>', 'the machine', name)
    .argument('<group>', 'the group, or "none"', name)
    .addOption(tenantOption())
  toGateway(command).action(async (machineName: string, group: string, options: Common) => {
    const answer = await withTenant(options, ({ peer, signal }) =>
      peer.call('machines.setGroup', { machine: machineName, group: group === GROUP_NONE ? null : group }, { signal }),
    )
    printJson({ machine: machineName, ...answer })
    if (options.json) return
    print(`${machineName}: group ${answer.group ?? 'none'}; plan ${answer.plan ?? 'none'}`)
    if (answer.newGroup) print(`  the group "${group}" is new: no other machine is in it, and no plan names it`)
  })
}

/** Adds `machine group`, `machine exclude` and `machine include`. */
export const addMachinePlanCommands = (machine: Command): void => {
  addGroup(machine)
  addExclude(machine)
  addInclude(machine)
}
