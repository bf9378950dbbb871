// Commands about restore points: list, hold and lock, prune, and the rules of retention.
import { InvalidArgumentError, Option, type Command } from 'commander'
import { durationMs } from '../../protocol/duration.ts'
import { VarveError } from '../../protocol/errors.ts'
import type { Params, Result } from '../../protocol/methods.ts'
import { DAYS_MAX, isTimeZone, KEEP_MAX, RETENTION_OFF, type Retention } from '../../protocol/retention.ts'
import { everyRow } from '../../protocol/paging.ts'
import type { Point } from '../../protocol/schemas.ts'
import { systemClock } from '../clock.ts'
import { isOff } from '../maintenance/retention.ts'
import { tenantNamed, withCatalog } from './local.ts'
import { print, printJson } from './output.ts'
import {
  anyTenantOption,
  dataOption,
  days,
  group as groupName,
  jsonOption,
  machineOption,
  pointId,
  tenantOption,
  whole,
  type Common,
  type CommonAll,
} from './options.ts'
import { withTenantPeer, type Remote } from './remote.ts'
import { holdLine, pointLines, pruneLines, retentionLines } from './report-points.ts'
import { printEach } from './tenants.ts'

type KeepOptions = Partial<Omit<Retention, 'lockDays' | 'keepWithinDays'>> & { readonly keepWithin?: number }

const timeZone = (text: string): string => {
  if (!isTimeZone(text)) throw new InvalidArgumentError('It is not a time zone such as UTC or Europe/Berlin.')
  return text
}

/** False for 31 February or 24:00, which are taken for a later day. */
const isInCalendar = (written: string): boolean => new Date(`${written}Z`).toISOString().startsWith(written)

/** Milliseconds since 1970 of a date, a date with time, or a duration from now. */
export const timeOf = (text: string, nowMs: number): number => {
  if (/^\d+[smhd]$/u.test(text)) return nowMs + durationMs(text)
  // a time without its zone would be the local one of who asks
  const [, day, clock = '00:00'] =
    /^(\d{4}-\d{2}-\d{2})(?:T(\d{2}:\d{2})(?::\d{2}(?:\.\d{1,3})?)?(?:Z|[+-]\d{2}:\d{2}))?$/u.exec(text) ?? []
  const timeMs = day === undefined ? Number.NaN : Date.parse(text)
  if (!Number.isSafeInteger(timeMs) || timeMs < 0 || !isInCalendar(`${day}T${clock}`))
    throw new InvalidArgumentError('It is not a time such as 2027-01-31, 2027-01-31T12:00Z or 90d (from now).')
  return timeMs
}

const keepOptions = (command: Command): Command => {
  for (const unit of ['last', 'hourly', 'daily', 'weekly', 'monthly', 'yearly'])
    command.addOption(
      new Option(
        `--keep-${unit} <N>`,
        unit === 'last' ? 'keep the newest N' : `keep the newest of N ${unit} periods`,
      ).argParser(whole(0, KEEP_MAX)),
    )
  return command
    .addOption(new Option('--keep-within <duration>', 'keep all this young, such as 7d').argParser(days))
    .addOption(
      new Option('--time-zone <zone>', 'whose clock says when a day begins (default: UTC)').argParser(timeZone),
    )
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

/** Restore points that are asked for at once. */
const PAGE_ROWS = 50

const allPoints = ({ peer, signal }: Remote, machine: string | null): Promise<Point[]> =>
  everyRow(
    (after) => peer.call('points.list', { machine, after, limit: PAGE_ROWS }, { signal }),
    (page) => page.points,
  )

const addPoints = (program: Command): void => {
  program
    .command('points')
    .description("list a tenant's restore points, newest first")
    .addOption(tenantOption())
    .addOption(machineOption('only those of this machine'))
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async ({ data, tenant, machine, json }: Common & { machine?: string }) => {
      const points = await withTenantPeer(data, tenant, (remote) => allPoints(remote, machine ?? null))
      printJson({ points })
      if (json) return
      if (points.length === 0)
        print(machine === undefined ? 'No restore points yet.' : `No restore points of ${machine} yet.`)
      else pointLines(points, systemClock.now()).forEach(print)
    })
}

const addHold = (program: Command): void => {
  program
    .command('hold')
    .description('hold a restore point until it is released, or lock it until a time that nobody can bring forward')
    .argument('<point>', 'the first characters of its id', pointId)
    .addOption(tenantOption())
    .addOption(
      new Option('--until <time>', 'lock it until then: a date, a date with time and zone, or a duration').argParser(
        (text) => timeOf(text, systemClock.now()),
      ),
    )
    .option('--release', 'let it go again; a lock stays', false)
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (point: string, options: Common & { until?: number; release: boolean }) => {
      const { data, tenant, until, release, json } = options
      if (release && until !== undefined)
        throw new VarveError('PARAMS_INVALID', 'a lock cannot be released: give --until or --release')
      const done = await withTenantPeer(data, tenant, ({ peer, signal }) =>
        until === undefined
          ? peer.call('points.hold', { point, held: !release }, { signal })
          : peer.call('points.lock', { point, untilMs: until }, { signal }),
      )
      printJson(done)
      if (!json) print(holdLine(done.point, systemClock.now()))
    })
}

interface PruneOptions extends CommonAll, KeepOptions {
  readonly machine?: string
  readonly group?: string
  readonly point?: string[]
  readonly dryRun: boolean
}

const addPrune = (program: Command): void => {
  const command = program
    .command('prune')
    .description('remove the restore points that retention does not keep; their space comes back with "gc"')
    .addOption(anyTenantOption())
    .addOption(machineOption('only this machine'))
    .addOption(new Option('--group <name>', 'only the machines of this group').argParser(groupName))
    .addOption(
      new Option('--point <id...>', 'remove just these, whatever the rules say').argParser(
        (text, before: string[] | undefined) => [...(before ?? []), pointId(text)],
      ),
    )
  keepOptions(command)
    .option('--dry-run', 'only show what would stay, why, and what would go', false)
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (options: PruneOptions) => {
      const { machine, group, point, tenant, dryRun } = options
      if (tenant === undefined && (machine !== undefined || group !== undefined || point !== undefined))
        throw new VarveError('PARAMS_INVALID', 'a machine, a group or a point needs its tenant: --tenant NAME')
      const rules = rulesAfter(RETENTION_OFF, options)
      if (rules !== null && isOff(rules))
        throw new VarveError(
          'PARAMS_INVALID',
          'rules that keep nothing by themselves keep everything: give a --keep option',
        )
      const params: Params<'points.prune'> = {
        machine: machine ?? null,
        group: group ?? null,
        points: point ?? null,
        rules,
        dryRun,
      }
      await printEach(
        options,
        // a large tenant's plan may take its time
        ({ peer, signal }) => peer.open('points.prune', params, { signal }).result,
        ({ tenant: of, result }) => ({
          json: { tenant: of, dryRun, ...result },
          lines: () => pruneLines(of, result, dryRun),
        }),
      )
    })
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

/** The rules of one scope as the catalog has them (all others may be more than a frame holds); NOT_FOUND for a machine or group that is not there. */
const rulesOf = (options: RetentionOptions, { scope, name: of }: Scope, changes: boolean): Promise<Retention | null> =>
  withCatalog(options.data, async (catalog) => {
    const { id } = await tenantNamed(catalog, options.tenant)
    if (scope === 'machine') await catalog.machines.get({ tenant: id, name: of })
    // a change looks itself, and knows another way out
    if (scope === 'group' && changes) return null
    const found = await catalog.retention.get({ tenant: id, scope, name: of })
    return found === null ? null : found.rules
  })

const changeRetention = async (options: RetentionOptions): Promise<readonly Policy[]> => {
  const scope = scopeOf(options)
  const changes = rulesAfter(RETENTION_OFF, options) !== null
  const call = <R>(work: (remote: Remote) => Promise<R>): Promise<R> =>
    withTenantPeer(options.data, options.tenant, work)
  if (options.none) {
    if (changes) throw new VarveError('PARAMS_INVALID', '--none removes the rules: give it alone')
    await call(({ peer, signal }) => peer.call('retention.set', { ...scope, rules: null }, { signal }))
    return []
  }
  if (!changes && scope.scope === 'tenant')
    return (await call(({ peer, signal }) => peer.call('retention.list', {}, { signal }))).policies
  const before = await rulesOf(options, scope, changes)
  if (!changes) return before === null ? [] : [{ ...scope, rules: before }]
  const rules = rulesAfter(before ?? RETENTION_OFF, options)!
  const { newGroup } = options
  await call(({ peer, signal }) => peer.call('retention.set', { ...scope, rules, newGroup }, { signal }))
  return [{ ...scope, rules }]
}

const addRetention = (program: Command): void => {
  const command = program
    .command('retention')
    .description('show or change the rules of a tenant, a group or a machine; the nearest ones count')
    .addOption(tenantOption())
    .addOption(machineOption('rules of this machine'))
    .addOption(new Option('--group <name>', 'rules of this group').argParser(groupName))
  keepOptions(command)
    .addOption(new Option('--lock-days <N>', 'lock new points for so many days').argParser(whole(0, DAYS_MAX)))
    .option('--none', 'remove the rules', false)
    .option('--new-group', 'the rules are for a group that no machine is in yet', false)
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (options: RetentionOptions) => {
      const policies = await changeRetention(options)
      printJson({ policies })
      if (!options.json) retentionLines(policies).forEach(print)
    })
}

/** Adds `points`, `hold`, `prune` and `retention`. */
export const addPointCommands = (program: Command): void => {
  addPoints(program)
  addHold(program)
  addPrune(program)
  addRetention(program)
}
