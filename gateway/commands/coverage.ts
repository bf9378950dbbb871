// The coverage command: whether each machine is protected, for people and, by its exit code, for scripts.
import { InvalidArgumentError, Option, type Command } from 'commander'
import * as v from 'valibot'
import { MACHINE_STATES, namePart, UNPROTECTED, type Covered, type MachineState } from '../../protocol/coverage.ts'
import { VarveError } from '../../protocol/errors.ts'
import { systemClock } from '../../protocol/host/clock.ts'
import type { Result } from '../../protocol/methods.ts'
import { everyRow } from '../../protocol/paging.ts'
import { printList } from './listing.ts'
import { anyTenantOption, group, machineOption, name, toGateway, type Common } from './options.ts'
import { printEach } from './over-tenants.ts'
import { withSession, type Remote } from './remote.ts'
import { coverageLines, summaryLine, TENANT_HEADING, tenantCells } from './report-coverage.ts'

interface CoverageOptions extends Common {
  readonly machine?: string
  readonly group?: string
  readonly plan?: string
  readonly contains?: string
  readonly worst: boolean
  readonly state?: readonly MachineState[]
  readonly failOn: readonly MachineState[]
  readonly tenants: boolean
}

interface Looked {
  readonly machines: readonly Covered[]
  readonly summary: Result<'coverage.summary'>
}

/** States of a text such as `late,failing`; `none` for none. */
const statesOf = (text: string): MachineState[] => {
  const names = text === 'none' ? [] : text.split(',')
  const unknown = names.find((one) => !(MACHINE_STATES as readonly string[]).includes(one))
  if (unknown !== undefined)
    throw new InvalidArgumentError(`It takes states, with commas: ${MACHINE_STATES.join(', ')}.`)
  return names as MachineState[]
}

/** A part of a name. */
const partOf = (text: string): string => {
  if (!v.is(namePart, text)) throw new InvalidArgumentError('It takes letters, digits, dot, dash and underscore.')
  return text
}

const look = async ({ peer, signal }: Remote, options: CoverageOptions): Promise<Looked> => {
  const { machine = null, group: ofGroup = null, plan = null, contains = null, worst, state } = options
  const order = worst ? ('worst' as const) : ('name' as const)
  const asked = { machine, group: ofGroup, plan, contains, order, states: state === undefined ? null : [...state] }
  const machines = await everyRow(
    (after) => peer.call('coverage.list', { ...asked, after }, { signal }),
    (page) => page.machines,
  )
  return { machines, summary: await peer.call('coverage.summary', {}, { signal }) }
}

/** UNPROTECTED where a machine that was looked at is in one of the states. */
const judge = (bad: readonly string[], failOn: readonly MachineState[]): void => {
  if (bad.length === 0) return
  const [first] = bad
  const words = bad.length === 1 ? `${first} is` : `${first} and ${bad.length - 1} more are`
  throw new VarveError('UNPROTECTED', `${words} ${failOn.join(' or ')}`, { details: { machines: bad.length } })
}

const printCoverage = async (options: CoverageOptions): Promise<void> => {
  const { failOn, state } = options
  const nowMs = systemClock.now()
  const bad: string[] = []
  await printEach<Looked>(options, {
    ofOne: [options.machine],
    work: async (remote, tenant) => {
      const looked = await look(remote, options)
      bad.push(
        ...looked.machines.filter((one) => failOn.includes(one.state)).map(({ machine }) => `${tenant}/${machine}`),
      )
      return looked
    },
    json: ({ machines, summary }) => ({ machines, ...summary }),
    lines: (tenant, { machines, summary }) => [
      ...(machines.length === 0 ? [] : coverageLines(machines, nowMs)),
      ...(machines.length === 0 && state !== undefined ? [`No machine is ${state.join(' or ')}.`] : []),
      summaryLine(tenant, summary, nowMs),
    ],
  })
  judge(bad, failOn)
}

const printTenants = async (options: CoverageOptions): Promise<void> => {
  const { tenant: _, ...platform } = options
  await withSession(platform, ({ peer, signal }) =>
    printList(options, (after) => peer.call('coverage.tenants', { after }, { signal }), {
      field: 'tenants',
      rowsOf: ({ tenants }) => tenants,
      heading: TENANT_HEADING,
      cells: tenantCells,
      none: 'There is no tenant yet.',
    }),
  )
}

/** Adds `coverage`. */
export const addCoverageCommand = (program: Command): void => {
  const command = program
    .command('coverage')
    .description('show whether each machine is protected and why not; ends with 6 where one is not')
    .addOption(anyTenantOption())
    .addOption(machineOption('only this machine'))
    .addOption(new Option('--group <name>', 'only machines of this group').argParser(group))
    .addOption(new Option('--plan <name>', 'only machines that this plan covers').argParser(name))
    .addOption(new Option('--contains <text>', 'only machines with this in their names').argParser(partOf))
    .option('--worst', 'worst first, and of one state first what was due first', false)
    .addOption(
      new Option('--state <states>', `only machines in these states: ${MACHINE_STATES.join(', ')}`).argParser(statesOf),
    )
    .addOption(
      new Option('--fail-on <states>', 'end with 6 where a machine is in one of these states, or "none"')
        .argParser(statesOf)
        .default([...UNPROTECTED], UNPROTECTED.join(',')),
    )
    .option('--tenants', 'only count the machines of each tenant: what the platform may see', false)
    .addHelpText('after', '\nExample: varve-gateway coverage --tenant acme --state late,failing')
  toGateway(command).action((options: CoverageOptions) =>
    options.tenants ? printTenants(options) : printCoverage(options),
  )
}
