// Commands about where notifications go: targets, and a test of one.
import { readFile } from 'node:fs/promises'
import { InvalidArgumentError, Option, type Command } from 'commander'
import { VarveError } from '../../protocol/errors.ts'
import { print, printJson, printTable } from '../../protocol/host/output.ts'
import { readToken } from './secret-input.ts'
import type { Asked } from '../../protocol/methods.ts'
import { HOURLY_DEFAULT, type Target, type TargetSecrets, type TargetSettings } from '../../protocol/notify.ts'
import { name, tenantOption, toGateway, whole, withDefault, type Common } from './options.ts'
import { withSession } from './remote.ts'

interface AddOptions extends Common {
  readonly smtp?: string
  readonly security: 'starttls' | 'tls' | 'none'
  readonly user?: string
  readonly from?: string
  readonly to?: readonly string[]
  readonly webhook?: string
  readonly webhookFile?: string
  readonly template?: string
  readonly headerFile?: string
  readonly ntfy?: string
  readonly gotify?: string
  readonly secretFile?: string
  readonly insecure: boolean
  readonly authority?: string
  readonly hourly: number
  readonly rule: boolean
}

const wrong = (message: string): VarveError => new VarveError('PARAMS_INVALID', message)

const textOf = async (file: string, what: string): Promise<string> => {
  try {
    return await readFile(file, 'utf8')
  } catch (error) {
    throw wrong(`cannot read ${what} in ${file}: ${(error as NodeJS.ErrnoException).code ?? (error as Error).message}`)
  }
}

/** One more value of an option that may be given again. */
export const another = (text: string, before: readonly string[] = []): string[] => [...before, text]

const PORTS = { starttls: 587, tls: 465, none: 25 } as const

/** Host and port of `mail.example:587` or `[::1]:25`. */
const hostPort = (text: string): { host: string; port: number | null } => {
  const [, bracketed, plain, port] = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/u.exec(text) ?? []
  const host = bracketed ?? plain
  if (host === undefined) throw new InvalidArgumentError('It takes a host, or host:port.')
  return { host, port: port === undefined ? null : Number(port) }
}

const PRIORITIES = { ntfy: { info: 2, warning: 4, error: 5 }, gotify: { info: 2, warning: 5, error: 8 } } as const

/** Server and topic of `https://ntfy.example/topic`. */
const topicOf = (text: string): { url: string; topic: string } => {
  const [, url, topic] = /^(https?:\/\/[^/]+.*)\/([^/]+)$/u.exec(text) ?? []
  if (url === undefined || topic === undefined)
    throw wrong('--ntfy takes server and topic, such as https://ntfy.sh/mytopic')
  return { url, topic }
}

const settingsOf = async (options: AddOptions): Promise<TargetSettings> => {
  const { insecure, security, smtp, ntfy, gotify } = options
  const authority = options.authority === undefined ? null : await textOf(options.authority, 'the authority')
  if (smtp !== undefined) {
    const { host, port } = hostPort(smtp)
    if (options.from === undefined || options.to === undefined) throw wrong('mail needs --from and --to')
    const people = { user: options.user ?? null, from: options.from, to: [...options.to] }
    return { kind: 'smtp', host, port: port ?? PORTS[security], security, insecure, ...people, authority }
  }
  if (ntfy !== undefined) return { kind: 'ntfy', ...topicOf(ntfy), insecure, priorities: PRIORITIES.ntfy, authority }
  if (gotify !== undefined) return { kind: 'gotify', url: gotify, insecure, priorities: PRIORITIES.gotify, authority }
  const template = options.template === undefined ? null : await textOf(options.template, 'the template')
  return { kind: 'webhook', insecure, template, authority }
}

/** Headers of a file with a line `Name: value` for each. */
const headersOf = async (file: string): Promise<NonNullable<TargetSecrets['headers']>> =>
  (await textOf(file, 'the headers'))
    .split(/\r?\n/u)
    .filter((line) => line.trim() !== '')
    .map((line) => {
      const at = line.indexOf(':')
      if (at < 1) throw wrong(`${file} takes lines such as "Authorization: Bearer ..."`)
      return { name: line.slice(0, at).trim(), value: line.slice(at + 1).trim() }
    })

const secretsOf = async (options: AddOptions, kind: TargetSettings['kind']): Promise<TargetSecrets> => {
  const { secretFile, webhook, webhookFile, headerFile } = options
  const secret = secretFile === undefined ? undefined : await readToken(secretFile, 'the secret')
  const url = webhookFile === undefined ? webhook : await readToken(webhookFile, 'the URL')
  const field = { smtp: 'password', webhook: 'key', ntfy: 'token', gotify: 'token' }[kind]
  return {
    ...(secret === undefined ? {} : { [field]: secret }),
    ...(url === undefined ? {} : { url }),
    ...(headerFile === undefined ? {} : { headers: await headersOf(headerFile) }),
  }
}

const KINDS = ['smtp', 'webhook', 'webhookFile', 'ntfy', 'gotify'] as const

const askedOf = async (target: string, options: AddOptions): Promise<Asked<'notify.setTarget'>> => {
  if (KINDS.filter((kind) => options[kind] !== undefined).length !== 1)
    throw wrong('say where it goes, once: --smtp HOST, --webhook URL, --webhook-file FILE, --ntfy URL or --gotify URL')
  const settings = await settingsOf(options)
  const { hourly, rule } = options
  return { target, settings, secrets: await secretsOf(options, settings.kind), hourly, rule }
}

/** Where messages go, in a few words. */
export const whereText = ({ settings, origin }: Target): string => {
  switch (settings.kind) {
    case 'smtp':
      return `${settings.to.join(', ')} by ${settings.host}:${settings.port}`
    case 'webhook':
      return origin ?? '-'
    case 'ntfy':
      return `${settings.url}/${settings.topic}`
    case 'gotify':
      return settings.url
    default:
      return settings satisfies never
  }
}

const addAdd = (target: Command): void => {
  const command = target
    .command('add')
    .description('add a target, or change the one of this name; secrets come from files or standard input')
    .argument('<name>', 'letters, digits, dot, dash and underscore', name)
    .addOption(tenantOption())
    .option('--smtp <host[:port]>', 'mail over this server')
    .addOption(new Option('--security <how>', 'of SMTP').choices(['starttls', 'tls', 'none']).default('starttls'))
    .option('--user <name>', 'user of the mail server; its password with --secret-file')
    .option('--from <address>', 'sender of the mail')
    .addOption(new Option('--to <address>', 'recipient of the mail; may be given again').argParser(another))
    .option('--webhook <url>', 'POST of JSON to this URL')
    .option('--webhook-file <file>', 'the same, with the URL in a file, "-" for standard input')
    .option('--template <file>', 'JSON of the webhook, with {{subject}}, {{text}} and the like in its texts')
    .option('--header-file <file>', 'headers of the webhook, a line "Name: value" for each')
    .option('--ntfy <url>', 'a topic, such as https://ntfy.sh/mytopic')
    .option('--gotify <url>', 'a Gotify server')
    .option('--secret-file <file>', 'password, token, or the key that signs webhooks; "-" for standard input')
    .option('--insecure', 'let messages cross the network in the clear', false)
    .option('--authority <file>', 'certificate authority of the server, PEM')
    .addOption(withDefault('--hourly <N>', 'messages in an hour at most', whole(1, 1000), String(HOURLY_DEFAULT)))
    .option('--no-rule', 'without the rule for everything of severity warning and worse')
  toGateway(command).action(async (of: string, options: AddOptions) => {
    const asked = await askedOf(of, options)
    const answer = await withSession(options, ({ peer, signal }) => peer.call('notify.setTarget', asked, { signal }))
    printJson(answer)
    if (options.json) return
    const tenant = options.tenant === undefined ? '' : ` --tenant ${options.tenant}`
    print(`Target ${of} is ${answer.added ? 'added' : 'changed'}. Next: varve-gateway notify test ${of}${tenant}`)
  })
}

const addList = (target: Command): void => {
  const command = target.command('list').description('list the targets').addOption(tenantOption())
  toGateway(command).action(async (options: Common) => {
    const { targets } = await withSession(options, ({ peer, signal }) => peer.call('notify.targets', {}, { signal }))
    printJson({ targets })
    if (options.json) return
    if (targets.length === 0) print('There is no target; add one with: varve-gateway notify target add NAME')
    else
      printTable(
        ['NAME', 'KIND', 'GOES TO', 'SECRETS', 'HOURLY'],
        targets.map((row) => [
          row.name,
          row.settings.kind,
          whereText(row),
          row.secrets === 'lost' ? 'lost: set them again' : row.set.join(', ') || '-',
          String(row.hourly),
        ]),
      )
  })
}

const addRemove = (target: Command): void => {
  const command = target
    .command('remove')
    .description('remove a target; its messages that wait are not sent')
    .argument('<name>', 'the target', name)
    .addOption(tenantOption())
  toGateway(command).action(async (of: string, options: Common) => {
    const answer = await withSession(options, ({ peer, signal }) =>
      peer.call('notify.removeTarget', { target: of }, { signal }),
    )
    printJson({ target: of, ...answer })
    if (options.json) return
    const rules = answer.rules.length === 0 ? '' : `, and the rules that had no other one: ${answer.rules.join(', ')}`
    print(`Target ${of} is removed${rules}.`)
  })
}

/** Adds `notify target`. */
export const addTargetCommands = (notify: Command): void => {
  const target = notify.command('target').description('add, list and remove where messages go')
  addAdd(target)
  addList(target)
  addRemove(target)
}

/** Adds `notify test`. */
export const addTest = (notify: Command): void => {
  const command = notify
    .command('test')
    .description('send a test to a target at once, and say what its server answered')
    .argument('<target>', 'the target', name)
    .addOption(tenantOption())
  toGateway(command).action(async (of: string, options: Common) => {
    const answer = await withSession(options, ({ peer, signal }) =>
      peer.call('notify.test', { target: of }, { signal, deadlineMs: 60_000 }),
    )
    printJson({ target: of, ...answer })
    if (!answer.sent) throw new VarveError('PEER_FAILED', `the test of ${of} was not taken: ${answer.answer}`)
    if (!options.json) print(`The test was taken by ${of} after ${answer.durationMs} ms: ${answer.answer}`)
  })
}
