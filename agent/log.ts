// The agent's log: pino with everything redacted that could be a secret.
import { pino, type Logger } from 'pino'

/** Names of fields whose values never reach a log, wherever they stand one or two levels deep. */
const SECRET_FIELDS = ['token', 'authorization', 'password', 'idKey', 'secret', 'privateKey', 'key', 'd']

export type Log = Logger

/** Logs go to standard error, as JSON lines; standard output is for answers. */
export const openLog = (options: { readonly level: string }): Log =>
  pino(
    {
      level: options.level,
      redact: { paths: SECRET_FIELDS.flatMap((name) => [name, `*.${name}`, `*.*.${name}`]), censor: '[redacted]' },
    },
    pino.destination({ fd: 2, sync: true }),
  )
