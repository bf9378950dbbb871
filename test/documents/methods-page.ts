// protocol/METHODS.md as it must be: every method's parameters, result and messages, and every limit, from the sources.
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { format, resolveConfig } from 'prettier'
import type * as v from 'valibot'
import * as maintenance from '../../protocol/maintenance.ts'
import type { Method, Stream } from '../../protocol/method.ts'
import { METHODS, methodOf, type MethodName } from '../../protocol/methods.ts'
import * as tenants from '../../protocol/tenant-methods.ts'
import * as notify from '../../protocol/notify.ts'
import * as plans from '../../protocol/plans.ts'
import * as retention from '../../protocol/retention.ts'
import * as schemas from '../../protocol/schemas.ts'
import * as transfer from '../../protocol/transfer.ts'
import * as views from '../../protocol/views.ts'
import { gatewayLimits, limitsTable, limitText, wireLimits } from './limits-table.ts'
import { remarkOf, remarksOf, type Remarks } from './remarks.ts'
import { namedShape, schemaShape, type Naming } from './shape.ts'

const folder = path.resolve(import.meta.dirname, '../../protocol')

/** Where the page lies. */
export const METHODS_PAGE = path.join(folder, 'METHODS.md')

const SOURCES = [
  'identity-methods',
  'tenant-methods',
  'machine-methods',
  'backup-methods',
  'plan-methods',
  'plans',
  'point-methods',
  'upkeep-methods',
  'agent-methods',
  'maintenance',
  'notify-methods',
  'notify',
  'schemas',
  'views',
  'transfer',
  'retention',
]

const remarks: Remarks = new Map(
  SOURCES.flatMap((name) => [...remarksOf(readFileSync(path.join(folder, `${name}.ts`), 'utf8'))]),
)

const isSchema = (value: unknown): value is v.GenericSchema =>
  typeof value === 'object' && value !== null && Reflect.get(value, 'kind') === 'schema'

/** Schemas with a name: those that the files of schemas export. */
const NAMED = new Map<unknown, string>(
  [schemas, views, transfer, plans, retention, maintenance, tenants, notify].flatMap((module) =>
    Object.entries(module).flatMap(([name, value]): [unknown, string][] => (isSchema(value) ? [[value, name]] : [])),
  ),
)

/** Names that the page has used, in the order in which it did; what they are shown by may use more. */
const used = new Set<string>()

const naming: Naming = {
  nameOf: (schema) => {
    const name = NAMED.get(schema) ?? null
    if (name !== null) used.add(name)
    return name
  },
  remarkOf: (context, field) => remarkOf(remarks, context, field),
}

/** A label with its shape behind it. */
const labelled = (label: string, shape: string): string => `${label.padEnd(6)} ${shape}`

const sectionOf = (name: MethodName, section: 'params' | 'result'): string => {
  const context = `${name} ${section}`
  const remark = remarkOf(remarks, context, '')
  const shape = labelled(section, schemaShape(methodOf(name)[section], context, naming))
  return remark === '' ? shape : `# ${remark}\n${shape}`
}

const streamOf = (label: 'up' | 'down', stream: Stream | null): string[] => {
  if (stream === null) return []
  const window = limitText({ name: 'WINDOW_BYTES', value: stream.windowBytes })
  return [`# a stream with a window of ${window}`, labelled(label, schemaShape(stream.message, '', naming))]
}

/** What a call leaves in the audit log. */
const AUDITED: Readonly<Record<string, string>> = {
  true: '# each call leaves an entry in the audit log',
  'unless dryRun': '# a call that may change something leaves an entry in the audit log, a dry run none',
}

const auditOf = ({ audited }: Method): string[] => [AUDITED[String(audited)] ?? []].flat()

const methodText = (name: MethodName): string => {
  const { up, down } = methodOf(name)
  const parts = [
    ...auditOf(methodOf(name)),
    sectionOf(name, 'params'),
    sectionOf(name, 'result'),
    ...streamOf('up', up),
    ...streamOf('down', down),
  ]
  return `### ${name}\n\n\`\`\`text\n${parts.join('\n')}\n\`\`\``
}

/** The shapes of all names that were used, and of those that these use. */
const namesText = (): string => {
  const schemaOf = new Map([...NAMED].map(([schema, name]) => [name, schema as v.GenericSchema]))
  const texts = new Map<string, string>()
  // grows while it is walked
  for (const name of used) {
    const remark = remarks.get(name)
    const shape = `${name} = ${namedShape(schemaOf.get(name)!, name, naming)}`
    texts.set(name, remark === undefined ? shape : `# ${remark}\n${shape}`)
  }
  return [...texts]
    .toSorted(([one], [other]) => (one < other ? -1 : 1))
    .map(([, text]) => text)
    .join('\n\n')
}

const HEAD = `# Methods and limits of the Varve protocol

Written from the sources by \`npm run documents\`; a test holds it to them. Who may call what, and what it does, is in
section 8 of [PROTOCOL.md](PROTOCOL.md).

How to read it: \`int\` is an integer of 0 to 2^53 - 1 where nothing else is said, in any form that section 2 allows;
\`float\` may have a fraction; \`bin\` is msgpack's bin, \`string\` its string (limits in UTF-16 units, patterns are
ECMAScript's); \`list\` is an array, \`[a, b]\` an array of just these items, \`{…}\` a map. A field with \`?\` may be
left out, which is not the same as nil; then it is what stands behind \`else\`. Every other field must be there, and
fields that are not named here are ignored. Names end in their unit: \`…Ms\` milliseconds (times since 1970, UTC),
\`…Bytes\`, \`offset\`, \`length\` and \`size\` bytes, \`…Days\` days, \`…Percent\` percent, \`…PerSecond\` for each second;
\`position\` counts chunks.`

const text = (): string => {
  const names = Object.keys(METHODS) as MethodName[]
  const served = (by: 'gateway' | 'agent'): string =>
    names
      .filter((name) => methodOf(name).servedBy === by)
      .map(methodText)
      .join('\n\n')
  return [
    HEAD,
    `## Served by the gateway\n\n${served('gateway')}`,
    `## Served by the agent\n\n${served('agent')}`,
    `## Names used above\n\n\`\`\`text\n${namesText()}\n\`\`\``,
    `## Limits of the wire\n\nBoth sides hold to them.\n\n${limitsTable(wireLimits())}`,
    `## Limits of the gateway\n\n${limitsTable(gatewayLimits())}`,
  ].join('\n\n')
}

/** The whole page, formatted like every other file. */
export const methodsPage = async (): Promise<string> =>
  format(`${text()}\n`, { ...(await resolveConfig(METHODS_PAGE)), filepath: METHODS_PAGE })
