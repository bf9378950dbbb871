// Commands about machines: list, status, assignment, and QMP.
import { InvalidArgumentError, Option, type Command } from 'commander'
import { checkpointLines, forgottenLines, leftError, statusLines } from '../../protocol/host/machine-report.ts'
import { print, printJson } from '../../protocol/host/output.ts'
import { printList } from './listing.ts'
import { addEventsCommand } from './machine-events.ts'
import { addMachinePlanCommands } from './machine-plan.ts'
import { name, rowsOption, tenantOption, toGateway, wholeId, type Common } from './options.ts'
import { withTenant } from './remote.ts'
import { timeText } from './report-points.ts'

const addList = (machine: Command): void => {
  const command = machine
    .command('list')
    .description("list a tenant's machines and who serves them")
    .addOption(tenantOption())
    .addOption(rowsOption())
  toGateway(command).action((options: Common & { limit?: number }) =>
    withTenant(options, ({ peer, signal }) =>
      printList(options, (after) => peer.call('machines.list', { after }, { signal }), {
        field: 'machines',
        rowsOf: ({ machines }) => machines,
        heading: ['MACHINE', 'AGENT', 'HOST', 'SITE', 'GROUP', 'PLAN', 'LAST POINT (UTC)', 'UUID'],
        cells: (row) => [
          row.name,
          row.agent,
          row.host,
          row.site ?? '-',
          row.group ?? '-',
          row.exclusion === null ? (row.plan ?? '-') : 'excluded',
          timeText(row.lastPoint?.timeMs ?? null),
          row.uuid ?? '-',
        ],
        none: 'There is no machine yet: agents declare theirs with "varve-agent run".',
      }),
    ),
  )
}

const addStatus = (machine: Command): void => {
  const command = machine
    .command('status')
    .description('show the current status of a machine, as its agent sees it')
    .argument('<machine>', 'the machine', name)
    .addOption(tenantOption())
  toGateway(command).action(async (machineName: string, options: Common) => {
    const status = await withTenant(options, ({ peer, signal }) =>
      peer.call('machines.status', { machine: machineName }, { signal }),
    )
    printJson({ machine: status })
    if (options.json) return
    statusLines(status).forEach(print)
    if (status.uuid !== null) print(`  uuid ${status.uuid}`)
    if (status.site !== null) print(`  site ${status.site}`)
  })
}

const addCheckpoints = (machine: Command): void => {
  const command = machine
    .command('checkpoints')
    .description('show the checkpoints of a machine, what each has recorded, and whether the next backup can use it')
    .argument('<machine>', 'the machine', name)
    .addOption(tenantOption())
  toGateway(command).action(async (machineName: string, options: Common) => {
    const found = await withTenant(options, ({ peer, signal }) =>
      peer.call('machines.checkpoints', { machine: machineName }, { signal }),
    )
    printJson({ machine: machineName, ...found })
    if (!options.json) checkpointLines(machineName, found).forEach(print)
  })
}

const addAssign = (machine: Command): void => {
  const command = machine
    .command('assign')
    .description(
      'assign a machine, with its restore points, to another agent: after a move, or when a host was replaced',
    )
    .argument('<machine>', 'the machine', name)
    .addOption(
      new Option('--agent <id>', 'the id that "agent list" shows')
        .argParser(wholeId('agent list'))
        .makeOptionMandatory(),
    )
    .addOption(tenantOption())
  toGateway(command).action(async (machineName: string, options: Common & { agent: string }) => {
    const { agent } = options
    const { changed } = await withTenant(options, ({ peer, signal }) =>
      peer.call('machines.assign', { machine: machineName, agent }, { signal }),
    )
    printJson({ machine: machineName, agent, changed })
    if (options.json) return
    print(
      changed
        ? `Agent ${agent} serves ${machineName} from now on; its next backup is a full read, unless the same host backed it up before.`
        : `Agent ${agent} serves ${machineName} already: nothing was changed.`,
    )
  })
}

const addForget = (machine: Command): void => {
  const command = machine
    .command('forget')
    .description("remove Varve's checkpoints from a machine; its next backup reads in full")
    .argument('<machine>', 'the machine', name)
    .option('--disk <name>', 'of one disk only')
    .addOption(tenantOption())
  toGateway(command).action(async (machineName: string, options: Common & { disk?: string }) => {
    const disk = options.disk ?? null
    const forgotten = await withTenant(options, ({ peer, signal }) =>
      peer.call('machines.forget', { machine: machineName, disk }, { signal }),
    )
    printJson({ machine: machineName, ...forgotten })
    if (!options.json) forgottenLines(machineName, disk, forgotten).forEach(print)
    const error = leftError(forgotten)
    if (error !== null) throw error
  })
}

const jsonObject = (text: string): string => {
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return text
  } catch {
    // the same sentence
  }
  throw new InvalidArgumentError('It takes a JSON object such as \'{"device":"data"}\'.')
}

const addQmp = (machine: Command): void => {
  const command = machine
    .command('qmp')
    .description("run a QMP command in a machine's QEMU, if the agent's configuration allows it, and print its answer")
    .argument('<machine>', 'the machine', name)
    .argument('<command>', 'such as query-status')
    .argument('[arguments]', 'its arguments, a JSON object', jsonObject, '{}')
    .addOption(tenantOption())
  toGateway(command).action(async (machineName: string, qmp: string, args: string, options: Common) => {
    const { value } = await withTenant(options, ({ peer, signal }) =>
      peer.call('machines.qmp', { machine: machineName, command: qmp, arguments: args }, { signal }),
    )
    printJson({ value: JSON.parse(value) as unknown })
    if (!options.json) print(JSON.stringify(JSON.parse(value), null, 2))
  })
}

/** Adds `machine`. */
export const addMachineCommands = (program: Command): void => {
  const machine = program
    .command('machine')
    .description('list and inspect machines, assign them to agents, decide which plan they belong to')
  addList(machine)
  addStatus(machine)
  addCheckpoints(machine)
  addAssign(machine)
  addForget(machine)
  addQmp(machine)
  addEventsCommand(machine)
  addMachinePlanCommands(machine)
}
