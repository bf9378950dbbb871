// The body that a webhook's template makes of a message: JSON, whatever the message says. Pure.
import type { Message } from '../../protocol/notify.ts'

const FIELDS: Readonly<Record<string, (message: Message) => string>> = {
  id: ({ id }) => id,
  time: ({ timeMs }) => new Date(timeMs).toISOString(),
  tenant: ({ tenant }) => tenant ?? '',
  target: ({ target }) => target,
  kind: ({ kind }) => kind,
  severity: ({ severity }) => severity,
  subject: ({ subject }) => subject,
  text: ({ text }) => text,
  machine: ({ items }) => items[0]?.machine ?? '',
  event: ({ items }) => items[0]?.kind ?? '',
  state: ({ items }) => items[0]?.state ?? '',
}

const PLACE = /\{\{\s*([^{}]*?)\s*\}\}/gu

/** The template with the message's fields in place of `{{name}}`, each escaped as the inside of a JSON text. */
export const rendered = (template: string, message: Message): string =>
  template.replaceAll(PLACE, (_, name: string) => JSON.stringify(FIELDS[name]?.(message) ?? '').slice(1, -1))

const SAMPLE: Message = {
  version: 1,
  id: 'id',
  timeMs: 0,
  tenant: 'acme',
  target: 'hook',
  kind: 'test',
  severity: 'info',
  subject: 'a "subject"',
  text: 'two\nlines',
  items: [],
  more: 0,
}

/** What is wrong with a template, as a sentence; null for nothing. */
export const templateProblem = (template: string): string | null => {
  const unknown = [...template.matchAll(PLACE)]
    .map(([, name = '']) => name)
    .find((name) => !Object.hasOwn(FIELDS, name))
  if (unknown !== undefined)
    return `the template has "{{${unknown}}}": it takes ${Object.keys(FIELDS)
      .map((name) => `{{${name}}}`)
      .join(', ')}`
  try {
    JSON.parse(rendered(template, SAMPLE))
    return null
  } catch {
    return 'the template makes no JSON: fields go within texts, such as {"text": "{{subject}}"}'
  }
}
