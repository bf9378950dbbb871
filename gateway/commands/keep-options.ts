// The options that are rules of retention: of a plan, or of one prune.
import { InvalidArgumentError, Option, type Command } from 'commander'
import type { KeepRules } from '../../protocol/plans.ts'
import { isTimeZone, KEEP_MAX } from '../../protocol/retention.ts'
import { days, whole } from './options.ts'

const UNITS = ['last', 'hourly', 'daily', 'weekly', 'monthly', 'yearly'] as const
type Unit = (typeof UNITS)[number]

/** What the options say; a rule that is not named is absent. */
export type KeepOptions = { readonly [U in Unit as `keep${Capitalize<U>}`]?: number } & {
  /** Days. */
  readonly keepWithin?: number
  readonly timeZone?: string
}

const timeZone = (text: string): string => {
  if (!isTimeZone(text)) throw new InvalidArgumentError('It is not a time zone such as UTC or Europe/Berlin.')
  return text
}

/** Adds them. */
export const keepOptions = (command: Command): Command => {
  for (const unit of UNITS)
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

/** The rules that are named. */
export const keepOf = (options: KeepOptions): Partial<KeepRules> => {
  const { keepLast, keepHourly, keepDaily, keepWeekly, keepMonthly, keepYearly, keepWithin } = options
  const rules = {
    last: keepLast,
    hourly: keepHourly,
    daily: keepDaily,
    weekly: keepWeekly,
    monthly: keepMonthly,
    yearly: keepYearly,
    withinDays: keepWithin,
  }
  return Object.fromEntries(Object.entries(rules).filter(([, value]) => value !== undefined))
}
