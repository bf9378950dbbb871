// What the audit log says of a call that was let through, beside who made it and what it was about.
import type { ErrorDetails } from '../../protocol/errors.ts'
import type { MethodsServedBy, Params, Result } from '../../protocol/methods.ts'

type Served = MethodsServedBy<'gateway'>

/** `result` is null for a call that failed. */
type Details<N extends Served> = (params: Params<N>, result: Result<N> | null) => ErrorDetails

/** Chosen by hand, field by field: never secrets, and little enough for one entry. */
const DETAILS: { readonly [N in Served]?: Details<N> } = {
  'points.hold': ({ held }) => ({ held }),
  'points.lock': ({ untilMs }) => ({ untilMs }),
  'points.prune': ({ dryRun, group, rules, points }, result) => ({
    dryRun,
    ...(group === null ? {} : { group }),
    ...(rules === null ? {} : { rules: JSON.stringify(rules) }),
    ...(points === null ? {} : { named: points.length }),
    ...(result === null ? {} : { removed: result.removed }),
  }),
  'retention.set': ({ scope, name, rules }) => ({
    scope,
    name,
    rules: rules === null ? null : JSON.stringify(rules),
  }),
  'store.collect': ({ dryRun, thresholdPercent, bytesPerSecond, acceptLoss }) => ({
    dryRun,
    thresholdPercent,
    bytesPerSecond,
    ...(acceptLoss === undefined ? {} : { acceptLoss: acceptLoss.length }),
  }),
  'store.verify': ({ olderThanDays, bytesPerSecond }) => ({ olderThanDays, bytesPerSecond }),
  'store.check': ({ bytesPerSecond }) => ({ bytesPerSecond }),
  'store.usage': ({ points }) => ({ points }),
}

/** Details of one call for its audit entry; none for a method that has nothing to add. */
export const auditDetails = <N extends Served>(name: N, params: Params<N>, result: Result<N> | null): ErrorDetails =>
  DETAILS[name]?.(params, result) ?? {}
