// An address to listen on, as options and configuration files give it.
import { isIP } from 'node:net'
import { VarveError } from '../../protocol/errors.ts'
import { listenProblem, PORT_MAX } from './listen-error.ts'

/** Host and port of `HOST:PORT` or `[IPV6]:PORT`; CONFIG_INVALID with `example`, a valid one. */
export const parseListen = (text: string, example: string): { host: string; port: number } => {
  const [, bracketed, plain, port] = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]+)):(\d{1,5})$/u.exec(text) ?? []
  const host = bracketed ?? plain
  if (host === undefined || Number(port) > PORT_MAX || /[\s/\p{Cc}]/u.test(host))
    throw new VarveError('CONFIG_INVALID', listenProblem(text, example))
  return { host, port: Number(port) }
}

/** Whether what listens there can be reached from its own machine only. */
export const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))
