// The log of both programs: pino with possible secrets redacted.
import { pino, type Logger } from 'pino'

/** Names of fields whose values never reach a log, at the top or up to two levels deep. */
const SECRET_FIELDS = ['token', 'authorization', 'password', 'idKey', 'secret', 'privateKey', 'key', 'd']

export type Log = Logger

/** Most bytes of lines that wait while standard error is blocked; further ones are dropped. */
const WAITING_BYTES_MAX = 1024 * 1024

/** Logs go to standard error, as JSON lines; standard output is for answers. */
export const openLog = (options: { readonly level: string }): Log => {
  const destination = pino.destination({ fd: 2, sync: true, maxLength: WAITING_BYTES_MAX })
  // standard error may be a file on a full disk, which must not end a program
  destination.on('error', () => {})
  return pino(
    {
      level: options.level,
      redact: { paths: SECRET_FIELDS.flatMap((name) => [name, `*.${name}`, `*.*.${name}`]), censor: '[redacted]' },
    },
    destination,
  )
}
