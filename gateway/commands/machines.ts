// Commands about machines: who serves them, their policy and their group.
import type { Configured } from '../catalog/retention.ts'
import { InvalidArgumentError, Option, type Command } from 'commander'
import {
  CONSISTENCY_WISHES,
  LEFT_OUT_REASONS,
  READ_REASONS,
  type ConsistencyWish,
  type LeftOutReason,
  type ReadReason,
} from '../../protocol/backup.ts'
import { GROUP_NONE } from '../../protocol/retention.ts'
import { COMPARE_DAYS_MAX } from '../../protocol/schemas.ts'
import type { Catalog } from '../catalog/catalog.ts'
import { tenantNamed, withCatalog } from './local.ts'
import { print, printJson, printTable } from './output.ts'
import { agentId, dataOption, jsonOption, name, tenantOption, type Common } from './options.ts'
import { connectedAgents } from './remote.ts'
import { timeText } from './report-points.ts'

/** Reasons with commas between them, each once however often it is said; a policy with more than there are would be no policy. */
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

/** Days of `30d` or `30`; `never` stays. */
const compareDays = (text: string): number | 'never' => {
  if (text === 'never') return text
  const days = /^([1-9][0-9]{0,3})d?$/u.exec(text)?.[1]
  if (days === undefined || Number(days) > COMPARE_DAYS_MAX)
    throw new InvalidArgumentError(`"${text}" is neither "never" nor 1d to ${COMPARE_DAYS_MAX}d`)
  return Number(days)
}

const addMachines = (program: Command): void => {
  const machine = program.command('machine').description('list machines and give them to another agent')

  machine
    .command('list')
    .description("list a tenant's machines and who serves them")
    .addOption(tenantOption())
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (options: Common) => {
      const machines = await withCatalog(options.data, async (catalog) =>
        catalog.machines.list({
          tenant: (await tenantNamed(catalog, options.tenant)).id,
          agent: null,
          after: null,
          limit: 100_000,
        }),
      )
      const online = await connectedAgents(options)
      const rows = machines.map((row) => ({
        name: row.name,
        agent: row.agent,
        host: row.host,
        online: online.has(row.agent),
        policy: row.policy,
        group: row.group,
        job: row.job,
        lastPoint: row.pointId === null ? null : { id: row.pointId, timeMs: row.pointMs },
      }))
      if (options.json) return printJson({ machines: rows })
      if (rows.length === 0) return print('There is no machine yet: agents bring them with "varve-agent run".')
      printTable(
        ['MACHINE', 'AGENT', 'HOST', 'GROUP', 'LAST POINT (UTC)'],
        rows.map((row) => [row.name, row.agent, row.host, row.group ?? '-', timeText(row.lastPoint?.timeMs ?? null)]),
      )
    })

  machine
    .command('assign')
    .description('give a machine, with its restore points, to another agent: after a move, or when a host was replaced')
    .argument('<machine>', 'the machine', name)
    .addOption(new Option('--agent <id>', 'the id that "agent list" shows').argParser(agentId).makeOptionMandatory())
    .addOption(tenantOption())
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (machineName: string, options: Common & { agent: string }) => {
      const changed = await withCatalog(options.data, async (catalog) => {
        const { id } = await tenantNamed(catalog, options.tenant)
        return await catalog.machines.assign({
          tenant: id,
          name: machineName,
          agent: options.agent,
        })
      })
      printJson({ machine: machineName, agent: options.agent, changed })
      if (options.json) return
      print(
        changed
          ? `Agent ${options.agent} serves ${machineName} from now on; its next backup is a full read, unless the same host backed it up before.`
          : `Agent ${options.agent} serves ${machineName} already: nothing is changed.`,
      )
    })
}

interface PolicyOptions extends Common {
  readonly consistency?: ConsistencyWish
  readonly refuseFull?: ReadReason[]
  readonly refuseLeftOut?: LeftOutReason[]
  /** Days; `never` for none. */
  readonly compareEvery?: number | 'never'
  /** `none` takes the machine out of its group. */
  readonly group?: string
}

/** Changes what the options name, and gives how it is then. */
const changePolicy = async (catalog: Catalog, machine: string, options: PolicyOptions): Promise<Configured> => {
  const { id: tenant } = await tenantNamed(catalog, options.tenant)
  const { compareEvery, consistency, refuseFull, refuseLeftOut } = options
  const compareDays = compareEvery === 'never' ? null : compareEvery
  const policy = { consistency, refuseFull, refuseLeftOut, compareDays }
  const group = options.group === GROUP_NONE ? null : options.group
  return await catalog.machines.configure({ tenant, name: machine, policy, group })
}

const words = (reasons: readonly string[]): string => reasons.join(', ') || 'no reason'

const addPolicy = (program: Command): void => {
  program
    .command('policy')
    .description("show or change a machine's policy and group")
    .argument('<machine>', 'the machine', name)
    .addOption(tenantOption())
    .addOption(new Option('--consistency <wish>', 'what to ask of the guest').choices([...CONSISTENCY_WISHES]))
    .option(
      '--refuse-full <reasons>',
      `reasons for which a full read is refused, with commas, or "none": ${FULL_REASONS.join(', ')}`,
      list(FULL_REASONS),
    )
    .option(
      '--refuse-left-out <reasons>',
      `reasons for which leaving a disk out is refused, with commas, or "none": ${LEFT_OUT_REASONS.join(', ')}`,
      list(LEFT_OUT_REASONS),
    )
    .option(
      '--compare-every <days>',
      'how often all that is said to be unchanged is read and compared, such as "30d", or "never"',
      compareDays,
    )
    .addOption(new Option('--group <name>', 'the group whose rules of retention it shares, or "none"').argParser(name))
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (machine: string, options: PolicyOptions) => {
      const { policy, group, newGroup } = await withCatalog(options.data, (catalog) =>
        changePolicy(catalog, machine, options),
      )
      if (options.json) return printJson({ machine, policy, group, newGroup })
      print(`${machine}: consistency ${policy.consistency}; group: ${group ?? 'none'}`)
      if (newGroup)
        print(`  the group "${group}" is new: no other machine is in it, and it has no rules of retention yet`)
      print(`  full reads refused for: ${words(policy.refuseFull)}`)
      print(`  disks that are left out refused for: ${words(policy.refuseLeftOut)}`)
      print(`  compared whole: ${policy.compareDays === null ? 'never' : `every ${policy.compareDays} days`}`)
    })
}

/** Adds `machine` and `policy`. */
export const addMachineCommands = (program: Command): void => {
  addMachines(program)
  addPolicy(program)
}
