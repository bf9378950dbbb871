// Commands about plans: list, show, remove, and when they run next; with those of the files beside it, all of `plan`.
import type { Command } from 'commander'
import { VarveError } from '../../protocol/errors.ts'
import { print, printJson } from '../../protocol/host/output.ts'
import { UPCOMING_MAX } from '../../protocol/plan-methods.ts'
import { printList } from './listing.ts'
import {
  machineOption,
  planNameOf,
  rowsOption,
  tenantOption,
  toGateway,
  whole,
  withDefault,
  type Common,
} from './options.ts'
import { addPlanApply, addPlanExport, printChanges } from './plan-apply.ts'
import { addPlanSet, addPlanSwitches } from './plan-set.ts'
import { withTenant } from './remote.ts'
import { planCells, planLines, PLANS_HEADING } from './report-plans.ts'
import { timeText } from './report-points.ts'

const NO_PLAN =
  'There is no plan: no backup starts by itself, and every restore point stays. Make one with: varve-gateway plan set NAME'

const addList = (plan: Command): void => {
  const command = plan
    .command('list')
    .description("list a tenant's plans")
    .addOption(tenantOption())
    .addOption(rowsOption())
  toGateway(command).action((options: Common & { limit?: number }) =>
    withTenant(options, ({ peer, signal }) =>
      printList(options, (after) => peer.call('plans.list', { after }, { signal }), {
        field: 'plans',
        rowsOf: ({ plans }) => plans,
        heading: PLANS_HEADING,
        cells: planCells,
        none: NO_PLAN,
      }),
    ),
  )
}

const addShow = (plan: Command): void => {
  const command = plan
    .command('show')
    .description('show all that a plan says')
    .argument('<name>', 'the plan', planNameOf)
    .addOption(tenantOption())
  toGateway(command).action(async (name: string, options: Common) => {
    const found = await withTenant(options, ({ peer, signal }) => peer.call('plans.get', { plan: name }, { signal }))
    printJson(found)
    if (!options.json) planLines(found.plan).forEach(print)
  })
}

const addRemove = (plan: Command): void => {
  const command = plan
    .command('remove')
    .description('remove plans; machines that no plan covers then are backed up by hand only, and their points stay')
    .argument('<names...>', 'the plans', (text: string, before: string[] | undefined) => [
      ...(before ?? []),
      planNameOf(text),
    ])
    .addOption(tenantOption())
  toGateway(command).action(async (names: string[], options: Common) => {
    const applied = await withTenant(options, ({ peer, signal }) =>
      peer.call('plans.apply', { plans: [], remove: names }, { signal }),
    )
    printJson({ dryRun: false, ...applied })
    printChanges(applied, options)
  })
}

interface NextOptions extends Common {
  readonly machine?: string
  readonly count: number
}

const addNext = (plan: Command): void => {
  const command = plan
    .command('next')
    .description('show when a plan, or a machine by its plan, runs next')
    .argument('[name]', 'the plan', planNameOf)
    .addOption(machineOption('when this machine is backed up'))
    .addOption(withDefault('--count <N>', 'how many runs', whole(1, UPCOMING_MAX), '5'))
    .addOption(tenantOption())
  toGateway(command).action(async (name: string | undefined, { machine, count, ...options }: NextOptions) => {
    if ((name === undefined) === (machine === undefined))
      throw new VarveError('PARAMS_INVALID', 'name a plan, or a machine with --machine')
    const asked = { plan: name ?? null, machine: machine ?? null, count }
    const answer = await withTenant(options, ({ peer, signal }) => peer.call('plans.next', asked, { signal }))
    printJson(answer)
    if (options.json) return
    const what = machine === undefined ? `Plan ${name!}` : `${machine} (plan ${answer.plan ?? 'none'})`
    print(answer.reason === null ? `${what} runs next (UTC):` : `${what}: ${answer.reason}.`)
    for (const { slotMs, startMs } of answer.runs)
      print(`  ${timeText(slotMs)}${startMs === slotMs ? '' : `, starts from ${timeText(startMs)}`}`)
  })
}

/** Adds `plan`. */
export const addPlanCommands = (program: Command): void => {
  const plan = program
    .command('plan')
    .description('what is wanted for machines: how fresh, how long kept, when allowed')
  addList(plan)
  addShow(plan)
  addPlanSet(plan)
  addRemove(plan)
  addPlanSwitches(plan)
  addNext(plan)
  addPlanApply(plan)
  addPlanExport(plan)
}
