// The log of both programs: pino with everything redacted that could be a secret.
import { pino, type Logger } from 'pino'

/** Names of fields whose values never reach a log, wherever they stand one or two levels deep. */
const SECRET_FIELDS = ['token', 'authorization', 'password', 'idKey', 'secret', 'privateKey', 'key', 'd']

export type Log = Logger

/** Lines that wait while standard error takes none, in bytes; further ones are dropped. */
const WAITING_BYTES_MAX = 1024 * 1024

/** Logs go to standard error, as JSON lines; standard output is for answers. */
export const openLog = (options: { readonly level: string }): Log => {
  const destination = pino.destination({ fd: 2, sync: true, maxLength: WAITING_BYTES_MAX })
  // it may be a file on a full disk: that must not end a program
  destination.on('error', () => {})
  return pino(
    {
      level: options.level,
      redact: { paths: SECRET_FIELDS.flatMap((name) => [name, `*.${name}`, `*.*.${name}`]), censor: '[redacted]' },
    },
    destination,
  )
}
