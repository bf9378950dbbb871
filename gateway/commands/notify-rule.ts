// Commands about what is told to whom: rules, and mutes of a maintenance.
import { readFile } from 'node:fs/promises'
import { Option, type Command } from 'commander'
import * as v from 'valibot'
import { EVENT_KINDS, SEVERITIES, type EventKind, type Severity } from '../../protocol/events.ts'
import { VarveError } from '../../protocol/errors.ts'
import { durationText } from '../../protocol/host/duration.ts'
import { print, printJson, printTable } from '../../protocol/host/output.ts'
import { misfit } from '../../protocol/misfit.ts'
import { match as matchSchema, type Match, type Rule } from '../../protocol/notify.ts'
import { another } from './notify-target.ts'
import { duration, name, tenantOption, toGateway, wholeId, type Common } from './options.ts'
import { withSession } from './remote.ts'
import { timeText } from './report-points.ts'

interface MatchOptions extends Common {
  readonly kind?: readonly EventKind[]
  readonly severity?: Severity
  readonly machine?: readonly string[]
  readonly group?: readonly string[]
  readonly match?: string
}

const wrong = (message: string): VarveError => new VarveError('PARAMS_INVALID', message)

/** Keys of a match, so that a typing error does not match everything. */
const MATCH_KEYS = new Set(['kinds', 'severity', 'machines', 'groups', 'all', 'any', 'not'])

const checkKeys = (value: unknown): void => {
  if (Array.isArray(value)) return value.forEach(checkKeys)
  if (typeof value !== 'object' || value === null) return
  for (const [key, inner] of Object.entries(value)) {
    if (!MATCH_KEYS.has(key)) throw wrong(`a match has no "${key}": it takes ${[...MATCH_KEYS].join(', ')}`)
    if (key === 'all' || key === 'any' || key === 'not') checkKeys(inner)
  }
}

/** The match of a JSON file; PARAMS_INVALID. */
const readMatch = async (file: string): Promise<Rule['match']> => {
  let value: unknown
  try {
    value = JSON.parse(await readFile(file, 'utf8'))
  } catch (error) {
    const why = error instanceof SyntaxError ? 'it is no JSON' : ((error as NodeJS.ErrnoException).code ?? '')
    throw wrong(`cannot read the match in ${file}: ${why}`)
  }
  checkKeys(value)
  const checked = v.safeParse(matchSchema, value)
  if (checked.success) return checked.output
  throw wrong(`${file}: ${misfit(matchSchema, checked.issues)}`)
}

const matchOf = async ({ kind, severity, machine, group, match }: MatchOptions): Promise<Rule['match']> => ({
  ...(match === undefined ? {} : await readMatch(match)),
  ...(kind === undefined ? {} : { kinds: [...kind] }),
  ...(severity === undefined ? {} : { severity }),
  ...(machine === undefined ? {} : { machines: [...machine] }),
  ...(group === undefined ? {} : { groups: [...group] }),
})

/** A match as people read it. */
export const matchText = ({ kinds, severity, machines, groups, all, any, not }: Match): string =>
  [
    ...(severity === undefined ? [] : [severity === 'error' ? 'error' : `${severity} and worse`]),
    ...(kinds === undefined ? [] : [kinds.join(' or ')]),
    ...(machines === undefined ? [] : [`machines ${machines.join(', ')}`]),
    ...(groups === undefined ? [] : [`groups ${groups.join(', ')}`]),
    ...(all === undefined ? [] : [`all of (${all.map(matchText).join('; ')})`]),
    ...(any === undefined ? [] : [`any of (${any.map(matchText).join('; ')})`]),
    ...(not === undefined ? [] : [`not (${matchText(not)})`]),
  ].join(', ') || 'everything'

/** Adds the options that say what is meant. */
const withMatch = (command: Command): Command =>
  command
    .addOption(
      new Option('--kind <kind>', 'this kind of event; may be given again')
        .choices(EVENT_KINDS)
        .argParser((text, before) => {
          if (!(EVENT_KINDS as readonly string[]).includes(text))
            throw wrong(`--kind: there is no "${text}": it takes ${EVENT_KINDS.join(', ')}`)
          return another(text, before as readonly string[] | undefined)
        }),
    )
    .addOption(new Option('--severity <severity>', 'this one and worse').choices(SEVERITIES))
    .addOption(new Option('--machine <pattern>', 'machines with * and ?; may be given again').argParser(another))
    .addOption(new Option('--group <pattern>', 'groups with * and ?; may be given again').argParser(another))

interface RuleOptions extends MatchOptions {
  readonly target: readonly string[]
  readonly quiet?: string
  readonly timeZone: string
  readonly repeat?: number
}

const addSet = (rule: Command): void => {
  const command = withMatch(
    rule
      .command('set')
      .description('add a rule, or change the one of this name: all that is given must hold')
      .argument('<name>', 'letters, digits, dot, dash and underscore', name)
      .addOption(tenantOption())
      .addOption(
        new Option('--target <name>', 'where it tells it; may be given again').argParser(another).makeOptionMandatory(),
      ),
  )
    .option('--match <file>', 'JSON with kinds, severity, machines, groups, and nested all, any and not')
    .option('--quiet <window>', 'messages wait until its end, such as "22:00-07:00" or "Sat-Sun"')
    .option('--time-zone <zone>', 'of the quiet hours', Intl.DateTimeFormat().resolvedOptions().timeZone)
    .addOption(new Option('--repeat <duration>', 'tell what still holds again, such as 12h').argParser(duration))
  toGateway(command).action(async (of: string, options: RuleOptions) => {
    const { target, quiet: window, timeZone, repeat } = options
    const quiet = window === undefined ? null : { window, timeZone }
    const asked = { rule: of, match: await matchOf(options), targets: [...target], quiet, repeatMs: repeat ?? null }
    const answer = await withSession(options, ({ peer, signal }) => peer.call('notify.setRule', asked, { signal }))
    printJson({ ...asked, ...answer })
    if (!options.json) print(`Rule ${of} is ${answer.added ? 'added' : 'changed'}: ${matchText(asked.match)}.`)
  })
}

const addList = (rule: Command): void => {
  const command = rule.command('list').description('list the rules').addOption(tenantOption())
  toGateway(command).action(async (options: Common) => {
    const { rules } = await withSession(options, ({ peer, signal }) => peer.call('notify.rules', {}, { signal }))
    printJson({ rules })
    if (options.json) return
    if (rules.length === 0) print('There is no rule; a new target brings one of its name.')
    else
      printTable(
        ['NAME', 'TELLS', 'TO', 'QUIET', 'REPEAT'],
        rules.map(({ name: of, match, targets, quiet, repeatMs }) => [
          of,
          matchText(match),
          targets.join(', '),
          quiet === null ? '-' : `${quiet.window} ${quiet.timeZone}`,
          repeatMs === null ? '-' : durationText(repeatMs),
        ]),
      )
  })
}

const addRemove = (rule: Command): void => {
  const command = rule
    .command('remove')
    .description('remove a rule')
    .argument('<name>', 'the rule', name)
    .addOption(tenantOption())
  toGateway(command).action(async (of: string, options: Common) => {
    await withSession(options, ({ peer, signal }) => peer.call('notify.removeRule', { rule: of }, { signal }))
    printJson({ rule: of })
    if (!options.json) print(`Rule ${of} is removed.`)
  })
}

/** Adds `notify rule`. */
export const addRuleCommands = (notify: Command): void => {
  const rule = notify.command('rule').description('set, list and remove what is told to whom')
  addSet(rule)
  addList(rule)
  addRemove(rule)
}

/** Adds `notify mute`, `notify mutes` and `notify unmute`. */
export const addMuteCommands = (notify: Command): void => {
  const mute = withMatch(
    notify
      .command('mute')
      .description('tell nothing for a while, as in a maintenance; what still holds then is told')
      .addOption(tenantOption())
      .addOption(new Option('--for <duration>', 'such as 2h or 3d').argParser(duration).makeOptionMandatory())
      .requiredOption('--reason <text>', 'why, for those who wonder'),
  )
  toGateway(mute).action(async (options: MatchOptions & { for: number; reason: string }) => {
    const asked = { match: await matchOf(options), reason: options.reason, untilMs: Date.now() + options.for }
    const answer = await withSession(options, ({ peer, signal }) => peer.call('notify.mute', asked, { signal }))
    printJson(answer)
    const { id, untilMs } = answer.mute
    if (!options.json) print(`Muted until ${timeText(untilMs)} UTC: ${matchText(asked.match)} (mute ${id}).`)
  })
  const list = notify.command('mutes').description('list the mutes that have not ended').addOption(tenantOption())
  toGateway(list).action(async (options: Common) => {
    const { mutes } = await withSession(options, ({ peer, signal }) => peer.call('notify.mutes', {}, { signal }))
    printJson({ mutes })
    if (options.json) return
    if (mutes.length === 0) print('Nothing is muted.')
    else
      printTable(
        ['ID', 'MUTED', 'BY', 'UNTIL (UTC)', 'REASON'],
        mutes.map(({ id, match, by, untilMs, reason }) => [id, matchText(match), by, timeText(untilMs), reason]),
      )
  })
  const unmute = notify
    .command('unmute')
    .description('end a mute')
    .argument('<id>', 'the id that "notify mutes" shows', wholeId('notify mutes'))
    .addOption(tenantOption())
  toGateway(unmute).action(async (id: string, options: Common) => {
    await withSession(options, ({ peer, signal }) => peer.call('notify.unmute', { mute: id }, { signal }))
    printJson({ mute: id })
    if (!options.json) print(`Mute ${id} has ended; what still holds is told.`)
  })
}
