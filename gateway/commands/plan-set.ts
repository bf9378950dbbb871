// The command that makes a plan or changes some of it, and those that turn one on and off.
import { InvalidArgumentError, Option, type Command } from 'commander'
import { CONSISTENCY_WISHES, LEFT_OUT_REASONS, READ_REASONS, type ConsistencyWish } from '../../protocol/backup.ts'
import { VarveError } from '../../protocol/errors.ts'
import { print, printJson } from '../../protocol/host/output.ts'
import { JITTER_MS_MAX, RPO_MS_MAX, RPO_MS_MIN, type Covers, type Plan, type PlanChange } from '../../protocol/plans.ts'
import { DAYS_MAX } from '../../protocol/retention.ts'
import { COMPARE_DAYS_MAX } from '../../protocol/schemas.ts'
import { exactDuration, exactDurationMs } from '../plans/duration.ts'
import { keepOf, keepOptions, type KeepOptions } from './keep-options.ts'
import { days, group, name, pattern, planNameOf, tenantOption, toGateway, whole, type Common } from './options.ts'
import { allPlans, printChanges } from './plan-apply.ts'
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

/** A parser of values, with a word for none: false, as commander has no value that is null. */
const orNone =
  <T>(word: string, parse: (text: string) => T) =>
  (text: string): T | false =>
    text === word ? false : parse(text)

/** Whole days of `30d` or `30`. */
const wholeDays =
  (max: number) =>
  (text: string): number => {
    const found = /^([1-9][0-9]{0,4})d?$/u.exec(text)?.[1]
    if (found === undefined || Number(found) > max)
      throw new InvalidArgumentError(`"${text}" is neither "never" nor 1d to ${max}d`)
    return Number(found)
  }

/** A parser of durations between two, in milliseconds. */
const span =
  (minMs: number, maxMs: number) =>
  (text: string): number => {
    const ms = exactDurationMs(text)
    if (ms === null) throw new InvalidArgumentError('It takes a duration such as 90s, 15m, 4h or 7d.')
    if (ms < minMs || ms > maxMs)
      throw new InvalidArgumentError(`It takes ${exactDuration(minMs)} to ${exactDuration(maxMs)}.`)
    return ms
  }

const more =
  (parse: (text: string) => string) =>
  (text: string, before: readonly string[] | undefined): string[] => [...(before ?? []), parse(text)]

/** False stands for none. */
interface SetOptions extends Common, KeepOptions {
  readonly schedule?: string | false
  readonly rpo?: number | false
  readonly window?: string | false
  readonly jitter?: number
  readonly consistency?: ConsistencyWish
  readonly refuseFull?: Plan['refuseFull']
  readonly refuseLeftOut?: Plan['refuseLeftOut']
  readonly compareEvery?: number | false
  readonly lockDays?: number
  readonly verifyEvery?: number | false
  readonly drillEvery?: number | false
  readonly priority?: number
  readonly coverMachine?: string[]
  readonly coverGroup?: string[]
  readonly coverPattern?: string[]
  readonly coverOthers?: boolean
  readonly uncoverMachine?: string[]
  readonly uncoverGroup?: string[]
  readonly uncoverPattern?: string[]
  readonly dryRun: boolean
}

/** What the plan covers after the options; absent where none of them says so. */
const coversAfter = (before: Covers | null, options: SetOptions): Partial<Covers> => {
  const changed = (
    field: 'machines' | 'groups' | 'patterns',
    added: readonly string[] | undefined,
    taken: readonly string[] | undefined,
  ): Partial<Covers> => {
    if (added === undefined && taken === undefined) return {}
    const all = new Set([...(before?.[field] ?? []), ...(added ?? [])])
    for (const one of taken ?? []) all.delete(one)
    return { [field]: [...all] }
  }
  return {
    ...changed('machines', options.coverMachine, options.uncoverMachine),
    ...changed('groups', options.coverGroup, options.uncoverGroup),
    ...changed('patterns', options.coverPattern, options.uncoverPattern),
    ...(options.coverOthers === undefined ? {} : { others: options.coverOthers }),
  }
}

/** What the options change of a plan; what they do not name is absent. */
const changeOf = (name: string, before: Covers | null, options: SetOptions): PlanChange => {
  const { schedule, rpo, window, consistency, refuseFull, refuseLeftOut, lockDays, priority, timeZone } = options
  const fields = {
    schedule,
    rpoMs: rpo,
    timeZone,
    window,
    jitterMs: options.jitter,
    consistency,
    refuseFull,
    refuseLeftOut,
    compareDays: options.compareEvery,
    lockDays,
    verifyDays: options.verifyEvery,
    drillDays: options.drillEvery,
    priority,
  }
  const keep = keepOf(options)
  const covers = coversAfter(before, options)
  return {
    name,
    ...Object.fromEntries(
      Object.entries(fields)
        .filter(([, value]) => value !== undefined)
        .map(([field, value]) => [field, value === false ? null : value]),
    ),
    ...(Object.keys(keep).length === 0 ? {} : { keep }),
    ...(Object.keys(covers).length === 0 ? {} : { covers }),
  }
}

const set = async (remote: Remote, name: string, options: SetOptions): Promise<void> => {
  const { peer, signal } = remote
  const { json, dryRun } = options
  const before = (await allPlans(remote)).find((plan) => plan.name === name) ?? null
  const change = changeOf(name, before?.covers ?? null, options)
  if (Object.keys(change).length === 1)
    throw new VarveError('PARAMS_INVALID', 'say what is wanted, such as --rpo 4h; "plan show" shows what a plan says')
  const applied = await peer.call('plans.apply', { plans: [change], merge: true, dryRun }, { signal })
  printJson({ dryRun, ...applied })
  if (json) return
  if (applied.changes.length === 0) print(`Nothing changes: plan ${name} is so already.`)
  printChanges(applied, options)
}

const addCovering = (command: Command): Command =>
  command
    .addOption(new Option('--cover-machine <name...>', 'cover this machine too').argParser(more(name)))
    .addOption(new Option('--cover-group <name...>', 'cover the machines of this group too').argParser(more(group)))
    .addOption(
      new Option('--cover-pattern <pattern...>', 'cover machines with names like web* too').argParser(more(pattern)),
    )
    .option('--cover-others', 'cover all machines that no other plan covers')
    .option('--no-cover-others', 'do not')
    .addOption(new Option('--uncover-machine <name...>', 'do not cover this machine by its name').argParser(more(name)))
    .addOption(new Option('--uncover-group <name...>', 'do not cover this group').argParser(more(group)))
    .addOption(new Option('--uncover-pattern <pattern...>', 'do not cover names like this').argParser(more(pattern)))

/** Adds `plan set`. */
export const addPlanSet = (plan: Command): void => {
  const command = plan
    .command('set')
    .description('make a plan, or change what the options name; shows what changed')
    .argument('<name>', 'the plan', planNameOf)
    .addOption(tenantOption())
    .addOption(
      new Option(
        '--schedule <when>',
        'a cron expression such as "30 2 * * *", or "every 4h"; "none" for none',
      ).argParser(orNone('none', String)),
    )
    .addOption(
      new Option('--rpo <duration>', 'no older than this may the newest point be, such as 4h; "none"').argParser(
        orNone('none', span(RPO_MS_MIN, RPO_MS_MAX)),
      ),
    )
    .addOption(
      new Option('--window <times>', 'when backups may start, such as "22:00-06:00"; "always"').argParser(
        orNone('always', String),
      ),
    )
    .addOption(
      new Option('--jitter <duration>', 'spread starts over this, such as 10m').argParser(span(0, JITTER_MS_MAX)),
    )
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
    .addOption(
      new Option(
        '--compare-every <days>',
        'how often all unchanged blocks are read and compared, such as "30d", or "never"',
      ).argParser(orNone('never', wholeDays(COMPARE_DAYS_MAX))),
    )
  addCovering(keepOptions(command))
    .addOption(new Option('--lock-days <N>', 'lock new points for this many days').argParser(whole(0, DAYS_MAX)))
    .addOption(
      new Option('--verify-every <days>', 'verify points again after this, such as 30d, or "never"').argParser(
        orNone('never', days),
      ),
    )
    .addOption(
      new Option('--drill-every <days>', 'try a restore this often, such as 30d, or "never"').argParser(
        orNone('never', days),
      ),
    )
    .addOption(new Option('--priority <N>', 'of two as urgent the higher starts first').argParser(whole(0, 100)))
    .option('--dry-run', 'only show what would change', false)
    .addHelpText(
      'after',
      '\nExample: varve-gateway plan set gold --tenant acme --rpo 4h --keep-daily 14 --cover-group databases',
    )
  toGateway(command).action((of: string, options: SetOptions) =>
    withTenant(options, (remote) => set(remote, of, options)),
  )
}

const SWITCHES = [
  ['enable', true, 'let a plan start backups and watch freshness again'],
  ['disable', false, 'a plan starts nothing and watches no freshness; its rules for backups and retention hold'],
] as const

/** Adds `plan enable` and `plan disable`. */
export const addPlanSwitches = (plan: Command): void => {
  for (const [word, enabled, what] of SWITCHES) {
    const command = plan
      .command(word)
      .description(what)
      .argument('<name>', 'the plan', planNameOf)
      .addOption(tenantOption())
    toGateway(command).action(async (of: string, options: Common) => {
      const changed = await withTenant(options, async ({ peer, signal }) => {
        // a name that is mistyped must not make a plan
        await peer.call('plans.get', { plan: of }, { signal })
        const change = { plans: [{ name: of, enabled }], merge: true }
        return (await peer.call('plans.apply', change, { signal })).changes.length > 0
      })
      printJson({ plan: of, enabled, changed })
      if (!options.json) print(`Plan ${of} is ${word}d${changed ? '' : ' already: nothing was changed'}.`)
    })
  }
}
