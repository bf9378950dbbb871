// The command that prints a link with which somebody signs in to the console.
import { hostname } from 'node:os'
import { Option, type Command } from 'commander'
import { PERSON_ROLES, type PersonRole } from '../../protocol/claims.ts'
import { VarveError } from '../../protocol/errors.ts'
import { durationText } from '../../protocol/host/duration.ts'
import { print, printJson, remark } from '../../protocol/host/output.ts'
import { duration, subject, tenantOption, toGateway, withDefault, type Common } from './options.ts'
import { checkTenant, ofTenant, placeOf, withSession } from './remote.ts'

interface LoginOptions extends Common {
  readonly role: PersonRole
  readonly subject: string
  readonly ttl: number
  readonly url?: string
}

/** Addresses that stand for every address of their host. */
const ANY: ReadonlySet<string> = new Set(['0.0.0.0', '[::]'])

/** The address of the page: what was given, or where the gateway is reached, in the scheme of a browser. */
export const pageAddress = (address: string, host = hostname()): string => {
  const url = new URL(address.replace(/^ws/u, 'http'))
  if (ANY.has(url.hostname)) url.hostname = host
  url.hash = ''
  url.search = ''
  if (!url.pathname.endsWith('/')) url.pathname += '/'
  return url.href
}

const checkedUrl = (text: string): string => {
  const given = URL.canParse(text) ? new URL(text) : null
  if (given === null || !['http:', 'https:'].includes(given.protocol) || given.username !== '')
    throw new VarveError('PARAMS_INVALID', '--url takes the address of the page, such as https://backup.example:8470/')
  return text
}

const notServed = (): VarveError =>
  new VarveError(
    'CONNECTION_LOST',
    'no gateway runs in this data folder, so that nobody could use the link: start it with "varve-gateway serve"',
  )

/** Adds `login`. */
export const addLoginCommand = (program: Command): void => {
  const command = program
    .command('login')
    .description('print a link that opens the console signed in, once, within 5 minutes')
    .addOption(tenantOption())
    .addOption(
      new Option('--role <role>', 'what its holder may do; "platform" needs no tenant')
        .choices(PERSON_ROLES)
        .default('owner'),
    )
    .addOption(withDefault('--subject <name>', 'name of its holder, for the audit log', subject, 'administrator'))
    .addOption(
      withDefault('--ttl <duration>', 'how long they stay signed in, such as 15m or 8h; 90d at most', duration, '8h'),
    )
    .option('--url <url>', 'address of the page, where a proxy or another name leads to it; else that of the gateway')
  toGateway(command).action(async (options: LoginOptions) => {
    const { subject: whose, role, ttl: ttlMs } = options
    const given = options.url === undefined ? null : checkedUrl(options.url)
    const place = placeOf(options)
    if (role !== 'platform') checkTenant(options)
    const login = await withSession(options, async (remote) => {
      const params = { ...ofTenant(remote, options), subject: whose, role, ttlMs }
      const issued = await remote.peer.call('login.issue', params, { signal: remote.signal })
      return { ...issued, tenant: role === 'platform' ? null : (remote.tenant ?? options.tenant ?? null) }
    })
    if (login.address === null) throw notServed()
    const page = given ?? ('data' in place ? login.address : place.gateway)
    const link = `${pageAddress(page)}#/login/${login.code}`
    printJson({ link, expiresMs: login.expiresMs, tenant: login.tenant, subject: whose, role })
    if (options.json) return
    print(link)
    remark(`The link is good once, for 5 minutes; it signs in ${whose} as ${role} for ${durationText(ttlMs)}.`)
  })
}
