// Which addresses a target may be at: those that a tenant names must not lead into the gateway's own networks.
import { lookup as systemLookup, type LookupAddress } from 'node:dns'
import { networkInterfaces } from 'node:os'
import { BlockList, connect, isIP, type LookupFunction, type Socket } from 'node:net'
import { VarveError } from '../../protocol/errors.ts'

/** How a name is resolved; given, so that tests can. */
export type Resolve = (name: string) => Promise<readonly LookupAddress[]>

const V4_PRIVATE: readonly (readonly [string, number])[] = [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['224.0.0.0', 3],
]

/** Within the global unicast addresses, what leads elsewhere by an IPv4 address inside: Teredo and 6to4. */
const V6_PRIVATE: readonly (readonly [string, number])[] = [
  ['2001::', 23],
  ['2001:db8::', 32],
  ['2002::', 16],
  ['3ffe::', 16],
]

const closed = new BlockList()
for (const [net, prefix] of V4_PRIVATE) closed.addSubnet(net, prefix, 'ipv4')
for (const [net, prefix] of V6_PRIVATE) closed.addSubnet(net, prefix, 'ipv6')

const global = new BlockList()
global.addSubnet('2000::', 3, 'ipv6')

const loopback = new BlockList()
loopback.addSubnet('127.0.0.0', 8, 'ipv4')
loopback.addAddress('::1', 'ipv6')

/** Whether an address is of the internet at large: not loopback, link-local, private, reserved, or a way to one of those. */
export const isPublic = (address: string): boolean => {
  const family = isIP(address)
  if (family === 4) return !closed.check(address, 'ipv4')
  // of IPv6 only global unicast is: also an IPv4 address in IPv6's clothes is none
  return family === 6 && global.check(address, 'ipv6') && !closed.check(address, 'ipv6')
}

/** The addresses of this host and of the networks that it is in, which may be public ones. */
const ownNetworks = (): BlockList => {
  const own = new BlockList()
  for (const { cidr, address, family } of Object.values(networkInterfaces()).flatMap((all) => all ?? [])) {
    const prefix = Number(cidr?.split('/')[1] ?? Number.NaN)
    const type = family === 'IPv4' ? 'ipv4' : 'ipv6'
    // a prefix of 0 would be everything
    if (prefix > 0) own.addSubnet(address, prefix, type)
    else own.addAddress(address, type)
  }
  return own
}

/** Whether an address is public and of no network of this host. */
const isElsewhere =
  (own: BlockList) =>
  ({ address }: Pick<LookupAddress, 'address'>): boolean =>
    isPublic(address) && !own.check(address, isIP(address) === 4 ? 'ipv4' : 'ipv6')

/** Whether a host as it is written is this one: by its address, or by the name `localhost`. */
export const isLoopbackHost = (host: string): boolean => {
  const bare = host.replace(/^\[|\]$/gu, '')
  const family = isIP(bare)
  return bare.toLowerCase() === 'localhost' || (family !== 0 && loopback.check(bare, family === 4 ? 'ipv4' : 'ipv6'))
}

export const resolve: Resolve = (name) =>
  new Promise((done, fail) =>
    systemLookup(name, { all: true, verbatim: true }, (error, addresses) =>
      error === null ? done(addresses) : fail(error),
    ),
  )

const forbidden = (host: string): VarveError =>
  new VarveError(
    'CONFIG_INVALID',
    `"${host}" is an address of this host or of a private network, where targets of tenants may not be: the gateway's administrator can allow that with notify_private`,
  )

/** How connections are made: `anywhere` is for the platform, and where the configuration allows it to tenants. */
export interface Reach {
  readonly anywhere: boolean
  readonly resolve: Resolve
  /** Addresses of this host and its networks, as they are now; given, so that tests can. */
  readonly own?: () => BlockList
}

/** The addresses of a host that may be connected to; CONFIG_INVALID where there are others only, what resolving ends with. */
export const addressesOf = async (host: string, reach: Reach): Promise<readonly LookupAddress[]> => {
  const family = isIP(host)
  const found = family === 0 ? await reach.resolve(host) : [{ address: host, family }]
  const allowed = reach.anywhere ? found : found.filter(isElsewhere((reach.own ?? ownNetworks)()))
  if (allowed.length === 0) throw forbidden(host)
  return allowed
}

/** Connects to a host by an address that was looked at, whatever its name means a moment later. */
export const connectTo = async (
  { host, port }: { readonly host: string; readonly port: number },
  reach: Reach,
  signal: AbortSignal,
): Promise<Socket> => {
  const addresses = await addressesOf(host, reach)
  signal.throwIfAborted()
  const lookup: LookupFunction = (_name, options, callback) => {
    if (options.all === true) callback(null, [...addresses])
    else callback(null, addresses[0]!.address, addresses[0]!.family)
  }
  const socket = connect({ host, port, lookup, autoSelectFamily: true })
  const abort = (): void => void socket.destroy(signal.reason as Error)
  signal.addEventListener('abort', abort, { once: true })
  socket.once('close', () => signal.removeEventListener('abort', abort))
  // whoever uses it hears of errors too; one that comes when nobody does must not end the process
  socket.on('error', () => {})
  await new Promise<void>((done, fail) => {
    socket.once('connect', done)
    socket.once('error', fail)
  })
  return socket
}
