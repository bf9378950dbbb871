// The options of serve that say how much the gateway starts at once by itself.
import { VarveError } from '../../protocol/errors.ts'
import type { JobLimits } from '../catalog/jobs.ts'
import { LIMITS_DEFAULT } from '../scheduler/limits.ts'

/** More at once than this is a slip of the hand. */
const AT_ONCE_MAX = 10_000

/** Numbers as they are given: texts by options, numbers by the configuration file; what is absent is the default. */
export interface AtOnce {
  readonly backupsAtOnce?: string | number | undefined
  readonly backupsAtOncePerHost?: string | number | undefined
  readonly backupsAtOncePerTenant?: string | number | undefined
}

const limitOf = (name: string, value: string | number | undefined, otherwise: number): number => {
  if (value === undefined) return otherwise
  const limit = typeof value === 'number' ? value : /^\d{1,6}$/u.test(value) ? Number(value) : Number.NaN
  if (Number.isSafeInteger(limit) && limit >= 1 && limit <= AT_ONCE_MAX) return limit
  throw new VarveError('CONFIG_INVALID', `${name}: a number from 1 to ${AT_ONCE_MAX}, got "${value}"`)
}

/** How many backups the gateway starts at once; CONFIG_INVALID. */
export const limitsOf = ({ backupsAtOnce, backupsAtOncePerHost, backupsAtOncePerTenant }: AtOnce): JobLimits => ({
  perHost: limitOf('backups-at-once-per-host', backupsAtOncePerHost, LIMITS_DEFAULT.perHost),
  perTenant: limitOf('backups-at-once-per-tenant', backupsAtOncePerTenant, LIMITS_DEFAULT.perTenant),
  perGateway: limitOf('backups-at-once', backupsAtOnce, LIMITS_DEFAULT.perGateway),
})
