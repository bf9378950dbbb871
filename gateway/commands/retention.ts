// The retention command, which shows and sets the rules of a tenant, a group or a machine; and the options of such rules.
import { InvalidArgumentError, Option, type Command } from 'commander'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { print, printJson, printTable } from '../../protocol/host/output.ts'
import type { Params, Result } from '../../protocol/methods.ts'
import { DAYS_MAX, isTimeZone, KEEP_MAX, RETENTION_OFF, type Retention } from '../../protocol/retention.ts'
import { printList } from './listing.ts'
import { days, group as groupName, machineOption, tenantOption, toGateway, whole, type Common } from './options.ts'
import { withTenant, type Remote } from './remote.ts'
import { RULES_HEADING, ruleCells } from './report-points.ts'

export type KeepOptions = Partial<Omit<Retention, 'lockDays' | 'keepWithinDays'>> & { readonly keepWithin?: number }

const timeZone = (text: string): string => {
  if (!isTimeZone(text)) throw new InvalidArgumentError('It is not a time zone such as UTC or Europe/Berlin.')
  return text
}

/** Adds the options that are rules. */
export const keepOptions = (command: Command): Command => {
  for (const unit of ['last', 'hourly', 'daily', 'weekly', 'monthly', 'yearly'])
    command.addOption(
      new Option(
        `--keep-${unit} <N>`,
        unit === 'last' ? 'keep the newest N' : `keep the newest of N ${unit} periods`,
      ).argParser(whole(0, KEEP_MAX)),
    )
  return command
    .addOption(new Option('--keep-within <duration>', 'keep everything younger than this, such as 7d').argParser(days))
    .addOption(new Option('--time-zone <zone>', 'time zone in which days begin (default: UTC)').argParser(timeZone))
}

/** The rules after the options, null where no option is given. */
export const rulesAfter = (
  before: Retention,
  options: KeepOptions & { readonly lockDays?: number },
): Retention | null => {
  const { keepWithin, ...fields } = options
  const changes = Object.entries({ ...fields, keepWithinDays: keepWithin }).filter(
    ([field, value]) => value !== undefined && Object.hasOwn(RETENTION_OFF, field),
  )
  return changes.length === 0 ? null : { ...before, ...(Object.fromEntries(changes) as Partial<Retention>) }
}

type Policy = Result<'retention.list'>['policies'][number]

interface RetentionOptions extends Common, KeepOptions {
  readonly machine?: string
  readonly group?: string
  readonly lockDays?: number
  readonly none: boolean
  readonly newGroup: boolean
}

const scopeOf = ({ machine, group, newGroup }: RetentionOptions): Pick<Params<'retention.set'>, 'scope' | 'name'> => {
  if (machine !== undefined && group !== undefined)
    throw new VarveError('PARAMS_INVALID', 'name a machine or a group, not both')
  if (newGroup && group === undefined) throw new VarveError('PARAMS_INVALID', '--new-group goes with --group')
  if (machine !== undefined) return { scope: 'machine', name: machine }
  return group === undefined ? { scope: 'tenant', name: '' } : { scope: 'group', name: group }
}

type Scope = ReturnType<typeof scopeOf>

/** The rules of one scope; null where it has none. NOT_FOUND for a machine or group that is not there. */
const rulesOf = async ({ peer, signal }: Remote, of: Scope): Promise<Retention | null> => {
  const { policies } = await peer.call('retention.list', { of }, { signal })
  return policies[0]?.rules ?? null
}

/** The same before a change, which checks machine and group itself and offers another way out. */
const rulesBefore = async (remote: Remote, of: Scope): Promise<Retention> => {
  try {
    return (await rulesOf(remote, of)) ?? RETENTION_OFF
  } catch (thrown) {
    if (asVarveError(thrown).code !== 'NOT_FOUND') throw thrown
    return RETENTION_OFF
  }
}

const change = async (remote: Remote, options: RetentionOptions, scope: Scope): Promise<readonly Policy[]> => {
  const { peer, signal } = remote
  if (options.none) {
    await peer.call('retention.set', { ...scope, rules: null }, { signal })
    return []
  }
  const rules = rulesAfter(await rulesBefore(remote, scope), options)!
  await peer.call('retention.set', { ...scope, rules, newGroup: options.newGroup }, { signal })
  return [{ ...scope, rules }]
}

const NO_RULES = 'There are no rules: every restore point stays.'

const printAll = ({ peer, signal }: Remote, { json }: RetentionOptions): Promise<void> =>
  printList({ json }, (after) => peer.call('retention.list', { after }, { signal }), {
    field: 'policies',
    rowsOf: ({ policies }) => policies,
    heading: RULES_HEADING,
    cells: ruleCells,
    none: NO_RULES,
  })

const retention = async (remote: Remote, options: RetentionOptions): Promise<void> => {
  const scope = scopeOf(options)
  const changes = rulesAfter(RETENTION_OFF, options) !== null
  if (options.none && changes) throw new VarveError('PARAMS_INVALID', '--none removes the rules: give it alone')
  const looks = !options.none && !changes
  if (looks && scope.scope === 'tenant') return await printAll(remote, options)
  const rules = looks ? await rulesOf(remote, scope) : null
  const shown = looks ? (rules === null ? [] : [{ ...scope, rules }]) : await change(remote, options, scope)
  printJson({ policies: shown })
  if (options.json) return
  if (shown.length === 0) print(NO_RULES)
  else printTable(RULES_HEADING, shown.map(ruleCells))
}

/** Adds `retention`. */
export const addRetentionCommand = (program: Command): void => {
  const command = program
    .command('retention')
    .description('show or change the rules of a tenant, a group or a machine; the nearest ones count')
    .addOption(tenantOption())
    .addOption(machineOption('rules of this machine'))
    .addOption(new Option('--group <name>', 'rules of this group').argParser(groupName))
  keepOptions(command)
    .addOption(new Option('--lock-days <N>', 'lock new points for this many days').argParser(whole(0, DAYS_MAX)))
    .option('--none', 'remove the rules', false)
    .option('--new-group', 'allow a group that no machine is in yet', false)
    .addHelpText(
      'after',
      '\nExample: varve-gateway retention --tenant acme --keep-last 3 --keep-daily 7 --keep-weekly 4',
    )
  toGateway(command).action((options: RetentionOptions) => withTenant(options, (remote) => retention(remote, options)))
}
