// What was found on a host as TOML to paste: machines as tables, and as comments what needs a person's decision. Pure.
import { stringify } from 'smol-toml'
import type { FoundMachine } from './found-machines.ts'

/** Longest line of a comment, in characters. */
const LINE_CHARS_MAX = 118

/** The address of a gateway that a person has to replace. */
const GATEWAY_EXAMPLE = 'wss://backup.example:8470'

/** What moves a terminal, leaves its line or cannot be seen, as TOML escapes it in a text. */
const escaped = (one: string): string => {
  const code = one.codePointAt(0)!.toString(16)
  return code.length > 4 ? `\\U${code.padStart(8, '0')}` : `\\u${code.padStart(4, '0')}`
}

/** A text that cannot leave its line, and reads as it is written. */
const plain = (text: string): string => text.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, escaped)

/** Values as TOML has them, which leaves more as it is than a terminal should be given. */
const toml = (values: Parameters<typeof stringify>[0]): string =>
  stringify(values)
    .trim()
    .replaceAll(/[^\P{Cc}\n]|[\p{Cf}\p{Zl}\p{Zp}]/gu, escaped)

/** Comment lines of at most LINE_CHARS_MAX characters, except for words that are longer. */
export const commentLines = (text: string): string[] => {
  const lines: string[] = []
  let line = '#'
  for (const word of plain(text).split(' ')) {
    if (line !== '#' && line.length + 1 + word.length > LINE_CHARS_MAX) {
      lines.push(line)
      line = '#  '
    }
    line += ` ${word}`
  }
  return [...lines, line]
}

/** A text as a value of TOML. */
const inline = (text: string): string => toml({ text }).slice('text = '.length)

const sentence = (text: string): string => (/[.!?]$/u.test(text) ? text : `${text}.`)

/** A comment with disks that have a name and place; nothing where one of them is not known so well. */
const diskLines = ({ disks, driver }: FoundMachine): string[] => {
  if (driver !== 'qmp' || disks.length === 0) return []
  const isSure = disks.every(({ path }) => path.startsWith('/') && !path.startsWith('/dev/fd'))
  const list = disks.map(({ name, path, format }) => `${name} ${path}${format === null ? '' : ` (${format})`}`)
  if (!isSure) return commentLines(`Disks: ${list.join(', ')}.`)
  const tables = disks.map(({ name, path, format }) => {
    const keys = { name, path, ...(format === null ? {} : { format }) }
    return `{ ${Object.entries(keys)
      .map(([key, value]) => `${key} = ${inline(value)}`)
      .join(', ')} }`
  })
  return [
    '# Its disks as it was started with them; with this line it is backed up while it is off, too:',
    `# disks = [${tables.join(', ')}]`,
  ]
}

const tableOf = ({ name, keys }: FoundMachine): string[] => toml({ machine: [{ name, ...keys }] }).split('\n')

const headOf = ({ name, origin, uuid, running }: FoundMachine): string =>
  `${name}: ${origin}${running ? '' : ', shut off'}${uuid === null ? '' : `, uuid ${uuid}`}`

const blockOf = (machine: FoundMachine, file: string): string[] => {
  const head = headOf(machine)
  const notes = machine.notes.map((note) => sentence(note[0]!.toUpperCase() + note.slice(1)))
  switch (machine.standing) {
    case 'configured':
      return commentLines(`${head}: already in ${file}.`)
    case 'followed':
      return commentLines(`${head}: taken up by [discover] of ${file}.`)
    case 'unusable':
      return [...commentLines(`${head}. Not yet possible:`), ...notes.flatMap((note) => commentLines(`- ${note}`))]
    case 'new':
  }
  return [
    ...commentLines(sentence(head)),
    ...notes.flatMap((note) => commentLines(`- ${note}`)),
    ...tableOf(machine),
    ...diskLines(machine),
  ]
}

export interface PageOptions {
  /** The configuration's path. */
  readonly file: string
  /** It exists, and says something. */
  readonly hasConfig: boolean
  /** A libvirt that has domains, and which [discover] does not follow; null for none. */
  readonly unfollowed?: string | null
}

const followLines = (uri: string): string[] => [
  '# To take up each domain without an edit, also later ones, paste this in place of them:',
  '# [discover]',
  `# libvirt = ${inline(uri)}`,
  '# include = ["*"]',
  '',
]

/** The lines of a page, which is TOML: below an existing configuration, or a configuration of its own. */
export const pageLines = (
  machines: readonly FoundMachine[],
  { file, hasConfig, unfollowed = null }: PageOptions,
): readonly string[] => {
  const fresh = machines.filter(({ standing }) => standing === 'new').length
  const what = `${machines.length === 1 ? '1 machine' : `${machines.length} machines`}, ${fresh} to add`
  const next = hasConfig
    ? `Append what you want to ${file}, then "systemctl reload varve-agent" (or SIGHUP).`
    : `Save what you want as ${file}, with the address of your gateway; then "varve-agent enrol".`
  const top = hasConfig ? [] : [`gateway = "${GATEWAY_EXAMPLE}"`, '']
  return [
    ...commentLines(`Found on this host: ${what}. ${next}`),
    '',
    ...top,
    ...(unfollowed === null ? [] : followLines(unfollowed)),
    ...machines.flatMap((machine) => [...blockOf(machine, file), '']),
  ].slice(0, -1)
}
