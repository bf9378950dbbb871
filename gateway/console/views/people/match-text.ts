// Which events a rule or a mute means, in words; and the simple ones that a form can make. Pure.
import type { Severity } from '../../../../protocol/events.ts'
import type { Match } from '../../../../protocol/notify.ts'
import { notifications as texts } from '../../texts/notifications.ts'

export const matchText = ({ kinds, severity, machines, groups, all, any, not }: Match): string => {
  const parts = [
    ...(severity === undefined ? [] : [texts.severities[severity]]),
    ...(kinds === undefined ? [] : [kinds.join(texts.or)]),
    ...(machines === undefined ? [] : [texts.machines(machines.join(', '))]),
    ...(groups === undefined ? [] : [texts.groups(groups.join(', '))]),
    ...(all === undefined ? [] : [texts.all(all.map(matchText).join('; '))]),
    ...(any === undefined ? [] : [texts.any(any.map(matchText).join('; '))]),
    ...(not === undefined ? [] : [texts.not(matchText(not))]),
  ]
  return parts.length === 0 ? texts.everything : parts.join(', ')
}

/** What a form asks of a match. */
export interface SimpleMatch {
  readonly severity: Severity
  /** Patterns of names, divided by spaces or commas. */
  readonly machines: string
}

export const matchOf = ({ severity, machines }: SimpleMatch): { severity: Severity; machines?: string[] } => {
  const patterns = machines.split(/[\s,]+/u).filter((pattern) => pattern !== '')
  return { severity, ...(patterns.length === 0 ? {} : { machines: patterns }) }
}
