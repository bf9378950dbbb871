// Why listening on an address failed, with the way out.
import { isIPv6 } from 'node:net'
import { VarveError } from '../../protocol/errors.ts'

/** Largest port. */
export const PORT_MAX = 65_535

/** What is wrong with a text that is not HOST:PORT or [IPV6]:PORT; `example` is a valid one. */
export const listenProblem = (text: string, example: string): string => {
  const takes = `listen takes HOST:PORT, such as ${example}`
  if (text === '') return `${takes}; it is empty`
  if (/^\w+:\/\//u.test(text)) return `${takes}; "${text}" is an address with a scheme: leave that out`
  if (/^\d+$/u.test(text))
    return `${takes}; "${text}" is a port without a host: 127.0.0.1:${text}, or 0.0.0.0:${text} for all`
  if (/^:\d+$/u.test(text)) return `${takes}; "${text}" has no host: 127.0.0.1${text}, or 0.0.0.0${text} for all`
  const [, address, port] = /^(.*):(\d+)$/u.exec(text) ?? []
  if (address !== undefined && isIPv6(address))
    return `${takes}; an IPv6 address goes in brackets: [${address}]:${port}`
  if (isIPv6(text)) return `${takes}; an IPv6 address goes in brackets, followed by a port: [${text}]:8470`
  if (port !== undefined && Number(port) > PORT_MAX)
    return `${takes}; ${port} is no port: they go from 0 to ${PORT_MAX}`
  if (!/:\d+$/u.test(text)) return `${takes}; "${text}" has no port: ${text.replace(/:$/u, '')}:8470, say`
  return `${takes}; got "${text}"`
}

/** The system's error for an address, and what to do. */
const WAYS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'another program listens there already: stop it, or name another port',
  EACCES: 'this user may not take that port (those below 1024 are for root): name a higher one',
  EPERM: 'the system does not let this user listen there: name another port',
  EADDRNOTAVAIL: 'this machine does not have that address: name one that it has, or 0.0.0.0 for all',
  EAFNOSUPPORT: 'this machine does not have that kind of address: name another one',
  EINVAL: 'the system rejects that address: name one that this machine has',
  ENOTFOUND: 'that name has no address: check it, or name an address of this machine',
  EAI_AGAIN: 'the name server does not answer: name an address of this machine',
}

/** CONFIG_INVALID with the address and the way out. */
export const listenError = (where: string, error: NodeJS.ErrnoException): VarveError =>
  new VarveError('CONFIG_INVALID', `cannot listen on ${where}: ${WAYS[error.code ?? ''] ?? error.message}`, {
    cause: error,
  })

/** The same for the local socket in a data folder. */
export const localListenError = (socket: string, error: NodeJS.ErrnoException): VarveError => {
  const { code = '', message } = error
  const ways: Readonly<Record<string, string>> = {
    EACCES: 'this user may not write into the folder',
    EROFS: 'its file system is read-only',
    EPERM: 'its file system supports no sockets: use a local one such as ext4 or xfs',
    EOPNOTSUPP: 'its file system supports no sockets: use a local one such as ext4 or xfs',
    EADDRINUSE: 'something is there that cannot be removed',
  }
  return new VarveError('CONFIG_INVALID', `cannot listen on ${socket}: ${ways[code] ?? message}`, { cause: error })
}
