// The options of serve that are about monitoring: the token of the metrics, their own listener, a collector of traces.
import { readFile } from 'node:fs/promises'
import { fileError } from '../../protocol/host/file-error.ts'
import { VarveError } from '../../protocol/errors.ts'
import { isLoopback, parseListen } from '../server/listen-address.ts'
import type { MetricsListen } from '../server/monitoring.ts'

export const METRICS_LISTEN_EXAMPLE = '127.0.0.1:9470'

/** Length of a token, in characters: shorter ones can be guessed. */
const TOKEN_CHARS_MIN = 16
const TOKEN_CHARS_MAX = 1024

/** The token in a file, without the line's end; null where no file is named. CONFIG_INVALID. */
export const readMetricsToken = async (file: string | undefined): Promise<string | null> => {
  if (file === undefined) return null
  let text: string
  try {
    text = (await readFile(file, 'utf8')).trim()
  } catch (error) {
    throw fileError(`the token of the metrics ${file}`, error)
  }
  if (text.length >= TOKEN_CHARS_MIN && text.length <= TOKEN_CHARS_MAX && /^[\x21-\x7e]+$/u.test(text)) return text
  throw new VarveError(
    'CONFIG_INVALID',
    `${file} holds no token for the metrics: one has ${TOKEN_CHARS_MIN} to ${TOKEN_CHARS_MAX} printable characters without spaces; ` +
      'make one with: openssl rand -hex 32',
  )
}

/** The address of the metrics' own listener; null where none is wanted. CONFIG_INVALID for one that others can reach. */
export const metricsListenOf = (text: string | undefined): MetricsListen | null => {
  if (text === undefined) return null
  const listen = parseListen(text, METRICS_LISTEN_EXAMPLE)
  if (isLoopback(listen.host)) return listen
  throw new VarveError(
    'CONFIG_INVALID',
    `metrics-listen: ${listen.host} is not loopback, and there everybody may read the metrics; name ${METRICS_LISTEN_EXAMPLE}, ` +
      'or let others read them on the port with a token (--metrics-token-file)',
  )
}

/** The address of a collector; null where none is named. CONFIG_INVALID for none, or one to which names travel in the clear. */
export const otlpEndpointOf = (text: string | undefined, isInsecure: boolean): string | null => {
  if (text === undefined) return null
  const url = URL.parse(text)
  if (url === null || !['http:', 'https:'].includes(url.protocol) || url.username !== '' || url.password !== '')
    throw new VarveError('CONFIG_INVALID', `otlp-endpoint: "${text}" is no address such as http://127.0.0.1:4318`)
  const host = url.hostname.replace(/^\[|\]$/gu, '')
  if (url.protocol === 'https:' || isLoopback(host) || isInsecure) return url.href
  throw new VarveError(
    'CONFIG_INVALID',
    `otlp-endpoint: ${host} is not loopback: use https:// or a collector on this machine, or --insecure to let the names of ` +
      'tenants and machines cross the network in the clear',
  )
}
