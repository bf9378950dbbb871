// Options that several commands share, and the parsers of their values.
import { InvalidArgumentError, Option, type Command } from 'commander'
import * as v from 'valibot'
import { SUBJECT_CHARS_MAX } from '../../protocol/claims.ts'
import { DAY_MS, durationMs } from '../../protocol/host/duration.ts'
import { sizeBytes } from '../../protocol/host/size.ts'
import { machinePattern, planName } from '../../protocol/plans.ts'
import { DAYS_MAX, GROUP_NONE, groupName } from '../../protocol/retention.ts'
import { idPrefix, name as nameSchema, uuid } from '../../protocol/schemas.ts'
import { pathProblem } from '../folder/new-folder.ts'
import { DATA_DEFAULT, VARIABLES, type Way } from './remote.ts'

/** Options of commands that talk to a gateway. */
export interface Common extends Way {
  readonly json: boolean
  /** Default: the token's tenant; commands over tenants cover all of a data folder. */
  readonly tenant?: string
}

/** A path of a data folder, not checked further. */
export const dataFolder = (text: string): string => {
  const problem = pathProblem(text)
  if (problem !== null) throw new InvalidArgumentError(problem)
  return text
}

const NAME = 'A name has 1 to 63 letters, digits, dots, dashes and underscores, and begins with a letter or a digit.'

/** A tenant's, machine's or group's name. */
export const name = (text: string): string => {
  const checked = v.safeParse(nameSchema, text)
  if (!checked.success) throw new InvalidArgumentError(NAME)
  return checked.output
}

/** The name of a token's holder. */
export const subject = (text: string): string => {
  if (text.length === 0 || text.length > SUBJECT_CHARS_MAX || /\p{Cc}/u.test(text))
    throw new InvalidArgumentError(`It takes 1 to ${SUBJECT_CHARS_MAX} printable characters.`)
  return text
}

/** A group's name. */
export const group = (text: string): string => {
  const checked = v.safeParse(groupName, text)
  if (!checked.success)
    throw new InvalidArgumentError(text === GROUP_NONE ? `"${GROUP_NONE}" stands for no group.` : NAME)
  return checked.output
}

/** A plan's name. */
export const planNameOf = (text: string): string => {
  const checked = v.safeParse(planName, text)
  if (!checked.success)
    throw new InvalidArgumentError('A plan has 1 to 80 letters, digits, dots, dashes and underscores as its name.')
  return checked.output
}

/** A pattern of machines' names. */
export const pattern = (text: string): string => {
  const checked = v.safeParse(machinePattern, text)
  if (!checked.success) throw new InvalidArgumentError('It takes a name with * for any characters and ? for one.')
  return checked.output
}

/** A parser of whole ids, in either case; `where` says which command shows them. */
export const wholeId =
  (where: string) =>
  (text: string): string => {
    const checked = v.safeParse(uuid, text.toLowerCase())
    if (!checked.success) throw new InvalidArgumentError(`It takes a complete id: "${where}" shows it.`)
    return checked.output
  }

/** The first characters of a restore point's id, in either case. */
export const pointId = (text: string): string => {
  const checked = v.safeParse(idPrefix, text.toLowerCase())
  if (!checked.success)
    throw new InvalidArgumentError(
      'It takes the id of a restore point or at least its first 4 characters: "points" shows it.',
    )
  return checked.output
}

/** One more complete id of a restore point, in either case: an irreversible act is not accepted with a prefix. */
export const wholeIds = (text: string, before: readonly string[] = []): string[] => {
  const checked = v.safeParse(uuid, text.toLowerCase())
  if (!checked.success)
    throw new InvalidArgumentError('It takes the complete id of a restore point: "points" shows it.')
  return [...before, checked.output]
}

/** Milliseconds of a text such as `8h`. */
export const duration = (text: string): number => {
  try {
    return durationMs(text)
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message)
  }
}

/** Days, not necessarily whole, of a text such as `7d` or `36h`; at most DAYS_MAX. */
export const days = (text: string): number => {
  const value = duration(text) / DAY_MS
  if (value > DAYS_MAX) throw new InvalidArgumentError(`It takes at most ${DAYS_MAX}d (a hundred years).`)
  return value
}

/** Bytes of a text such as `500G`, with the unit's letter in either case; PARAMS_INVALID. */
export const bytesOf = (text: string): number =>
  sizeBytes(text.replace(/([kmgtp])(?:ib)?$/iu, (unit) => unit[0]!.toUpperCase()))

/** The same as the parser of an option. */
export const size = (text: string): number => {
  try {
    return bytesOf(text)
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message)
  }
}

/** A parser of whole numbers from `min` to `max`. */
export const whole =
  (min: number, max: number) =>
  (text: string): number => {
    const value = Number(text)
    if (!/^\d{1,15}$/u.test(text) || value < min || value > max)
      throw new InvalidArgumentError(`It takes a whole number from ${min} to ${max}.`)
    return value
  }

/** An option whose default help shows as it would be typed. */
export const withDefault = <T>(flags: string, what: string, parse: (text: string) => T, text: string): Option =>
  new Option(flags, what).argParser(parse).default(parse(text), text)

const which = (flags: string, what: string): Option => new Option(flags, what).helpGroup('Which gateway:')

/** Adds the options that select a gateway, and `--json`, behind a command's own. */
export const toGateway = (command: Command): Command => {
  return command
    .addOption(jsonOption())
    .addOption(
      which(
        '--data <dir>',
        `the gateway of this data folder, running or not (default: ${DATA_DEFAULT}; ${VARIABLES.data})`,
      ).argParser(dataFolder),
    )
    .addOption(which('--gateway <url>', `a running gateway, such as wss://backup.example:8470 (${VARIABLES.gateway})`))
    .addOption(
      which(
        '--token-file <file>',
        `with --gateway: file with your token, "-" for standard input (${VARIABLES.tokenFile})`,
      ),
    )
    .addOption(
      which('--ca <file>', `with --gateway: certificate authority of your own to trust, PEM (${VARIABLES.ca})`),
    )
}

export const tenantOption = (): Option =>
  new Option('--tenant <name>', 'the tenant; with --gateway that of the token').argParser(name)
/** For commands that cover all tenants by default. */
export const anyTenantOption = (): Option =>
  new Option(
    '--tenant <name>',
    'the tenant (default: all, one after the other; with --gateway that of the token)',
  ).argParser(name)
export const machineOption = (what: string): Option => new Option('--machine <name>', what).argParser(name)
export const jsonOption = (): Option => new Option('--json', 'print JSON').default(false)
/** Bytes a second, given in MiB. */
export const rateOption = (): Option =>
  new Option('--limit <MiB/s>', 'read and write at most so much a second (default: no limit)').argParser(
    whole(1, 1_000_000),
  )
/** Rows of a list. */
export const rowsOption = (): Option =>
  new Option('--limit <N>', 'print at most this many (default: all)').argParser(whole(1, 1_000_000_000))
