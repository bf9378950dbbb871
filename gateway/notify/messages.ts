// What messages say: subject and text in plain sentences, and the same as fields.
import type { EventKind, Severity } from '../../protocol/events.ts'
import { durationText } from '../../protocol/host/duration.ts'
import { MESSAGE_ITEMS_MAX, MESSAGE_VERSION, type Message, type MessageItem } from '../../protocol/notify.ts'
import type { ConditionRow } from '../catalog/events.ts'
import type { NoticeItem } from '../catalog/notices.ts'
import { worse } from './match.ts'

/** Longest subject, in characters. */
const SUBJECT_CHARS_MAX = 160

/** Whose message it is, and where it goes. */
export type Addressed = Pick<Message, 'id' | 'timeMs' | 'tenant' | 'target'>

/** An item with what is said of it. */
export interface Said {
  readonly item: NoticeItem
  readonly state: MessageItem['state']
}

/** A text in one line that moves no terminal and reads as it is written: some of it comes from agents and guests. */
export const oneLine = (text: string): string =>
  text
    .replaceAll(/[\p{Cc}\u2028\u2029]+/gu, ' ')
    .replaceAll(/\p{Bidi_Control}/gu, '\uFFFD')
    .toWellFormed()
    .trim()

const cut = (text: string, max: number): string =>
  text.length <= max ? text : `${text.slice(0, max - 1)}…`.toWellFormed()

/** `2026-11-29 02:10 UTC`. */
const instant = (ms: number): string => `${new Date(ms).toISOString().slice(0, 16).replace('T', ' ')} UTC`

const STATE_WORDS: Readonly<Record<MessageItem['state'], string | null>> = {
  active: null,
  changed: null,
  still: 'still so',
  resolved: 'good again',
  happened: null,
}

const SEVERITY_WORDS: Readonly<Record<Severity, string>> = { info: 'note', warning: 'warning', error: 'error' }

/** The word that a subject begins with. */
const word = ({ state, severity }: MessageItem): string => STATE_WORDS[state] ?? SEVERITY_WORDS[severity]

/** The command that shows more of a kind of event; the first that its name begins with. */
const LOOKS: readonly (readonly [prefix: string, command: string])[] = [
  ['machine.state', 'coverage'],
  ['job.', 'job list'],
  ['quota.', 'usage'],
  ['damage', 'verify'],
  ['verify.', 'coverage'],
  ['agent.', 'agent list'],
  ['token.', 'token list'],
  ['audit.', 'audit check'],
  ['upkeep.', 'runs'],
  ['run.', 'runs'],
  ['plan.', 'plan list'],
]

const lookOf = (kind: EventKind, tenant: string | null): string => {
  const [, command = 'events'] = LOOKS.find(([prefix]) => kind.startsWith(prefix)) ?? []
  return `varve-gateway ${command}${tenant === null ? '' : ` --tenant ${tenant}`}`
}

const itemOf = ({ item, state }: Said, tenant: string | null): MessageItem => {
  const { kind, severity, machine, group, sinceMs, text, data } = item
  return { kind, severity, state, machine, group, sinceMs, text: oneLine(text), look: lookOf(kind, tenant), data }
}

/** `acme`, `acme/db1`, or `the gateway`. */
const whereOf = (tenant: string | null, machine: string | null): string =>
  [...(tenant === null ? [] : [tenant]), ...(machine === null ? [] : [machine])].join('/') || 'the gateway'

const subjectOf = (text: string): string => cut(`[Varve] ${oneLine(text)}`, SUBJECT_CHARS_MAX)

const worstOf = (items: readonly MessageItem[]): Severity =>
  items
    .filter(({ state }) => state !== 'resolved')
    .reduce<Severity>((worst, { severity }) => worse(worst, severity), 'info')

/** One item in lines of its own. */
const paragraph = (item: MessageItem, { tenant, timeMs }: Addressed): string => {
  const { state, machine, group, sinceMs, kind, look } = item
  const lasted = durationText(Math.max(0, timeMs - sinceMs))
  const since = `${instant(sinceMs)} (${lasted} ago)`
  const when = { happened: `at ${since}`, resolved: `good again; it began at ${instant(sinceMs)} and took ${lasted}` }
  return [
    item.text,
    '',
    `  state    ${state === 'happened' || state === 'resolved' ? when[state] : `${SEVERITY_WORDS[item.severity]} since ${since}`}`,
    ...(machine === null ? [] : [`  machine  ${machine}${group === null ? '' : ` (group ${group})`}`]),
    `  where    ${tenant === null ? 'the gateway itself' : `tenant ${tenant}`}`,
    `  kind     ${kind}`,
    `  look     ${look}`,
  ].join('\n')
}

const lineOf = (item: MessageItem): string =>
  `- ${word(item)}: ${item.machine === null ? '' : `${item.machine}: `}${item.text} (${
    item.state === 'happened' ? 'at' : 'since'
  } ${instant(item.sinceMs)})`

const whole = (
  to: Addressed,
  kind: Message['kind'],
  fields: Pick<Message, 'severity' | 'subject' | 'text' | 'items' | 'more'>,
): Message => ({ version: MESSAGE_VERSION, ...to, kind, ...fields })

const moreText = (more: number): string[] =>
  more === 0 ? [] : ['', `${more} more ${more === 1 ? 'change was' : 'changes were'} held back.`]

const single = (to: Addressed, item: MessageItem, more: number): Message => {
  const subject = subjectOf(`${word(item)}: ${whereOf(to.tenant, item.machine)}: ${item.text}`)
  const text = [paragraph(item, to), ...moreText(more)].join('\n')
  return whole(to, 'notice', { severity: worstOf([item]), subject, text, items: [item], more })
}

/** The message of what is said at once: of one event in full, of several as a list. */
export const noticeMessage = (to: Addressed, said: readonly Said[], held: number): Message => {
  const items = said.map((one) => itemOf(one, to.tenant))
  // changes of one item that cancelled one another out
  const passed = said.reduce((sum, { item }) => sum + Math.max(0, item.changes - 1), 0)
  const [only] = items
  if (items.length === 1 && only !== undefined) return single(to, only, held + passed)
  const shown = items.slice(0, MESSAGE_ITEMS_MAX)
  const more = held + passed + items.length - shown.length
  const severity = worstOf(items)
  const good = items.filter(({ state }) => state === 'resolved').length
  const count = [
    ...(items.length > good ? [`${items.length - good} to know`] : []),
    ...(good > 0 ? [`${good} good again`] : []),
  ].join(', ')
  const subject = subjectOf(`${SEVERITY_WORDS[severity]}: ${whereOf(to.tenant, null)}: ${count}`)
  const text = [`What is so now, ${instant(to.timeMs)}:`, '', ...shown.map(lineOf), ...moreText(more)].join('\n')
  return whole(to, 'summary', { severity, subject, text, items: shown, more })
}

/** What holds now, the worst first, on demand. */
export const digestMessage = (to: Addressed, holding: readonly ConditionRow[]): Message => {
  const rank: Readonly<Record<Severity, number>> = { error: 0, warning: 1, info: 2 }
  const items = holding
    .toSorted((a, b) => rank[a.severity] - rank[b.severity] || a.sinceMs - b.sinceMs)
    .map(({ kind, severity, machine, group, sinceMs, text, data }): MessageItem => ({
      kind,
      severity,
      state: 'active',
      machine,
      group,
      sinceMs,
      text: oneLine(text),
      look: lookOf(kind, to.tenant),
      data,
    }))
  const shown = items.slice(0, MESSAGE_ITEMS_MAX)
  const more = items.length - shown.length
  const where = whereOf(to.tenant, null)
  const subject = subjectOf(
    items.length === 0 ? `digest: ${where}: all is well` : `digest: ${where}: ${items.length} to know`,
  )
  const lines = items.length === 0 ? ['Nothing is wrong.'] : shown.map(lineOf)
  const left = more === 0 ? [] : ['', `${more} more are not listed here.`]
  const text = [`What is so now, ${instant(to.timeMs)}:`, '', ...lines, ...left].join('\n')
  return whole(to, 'digest', { severity: worstOf(items), subject, text, items: shown, more })
}

/** Says that a target works. */
export const testMessage = (to: Addressed): Message => {
  const text = `This is a test of the target "${to.target}" of ${whereOf(to.tenant, null)}: its messages arrive here.`
  return whole(to, 'test', { severity: 'info', subject: subjectOf(`test: ${text}`), text, items: [], more: 0 })
}
