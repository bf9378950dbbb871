// Commands that go over tenants through a gateway: the one named, or all, one after the other.
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { NO_TENANT, withCatalog } from './local.ts'
import { print, printJson } from '../../protocol/host/output.ts'
import { withGateway, type LocalGateway, type Remote } from './remote.ts'

export interface OfTenant<R> {
  readonly tenant: string
  readonly result: R
}

const namesOf = async ({ data, tenant }: { data: string; tenant?: string }): Promise<string[]> => {
  if (tenant !== undefined) return [tenant]
  const tenants = await withCatalog(data, (catalog) => catalog.tenants.list())
  return tenants.map(({ name }) => name)
}

/** The error of a command whose work failed for some of its tenants; a tenant is named where there are several. */
const failureOf = (failed: readonly OfTenant<VarveError>[], count: number): VarveError => {
  const { tenant, result: first } = failed[0]!
  if (count === 1) return first
  const others = failed.length === 1 ? '' : `; and for ${failed.length - 1} more of ${count} tenants`
  return new VarveError(first.code, `${tenant}: ${first.message}${others}`, { cause: first })
}

const overTenants = async <R>(
  gateway: LocalGateway,
  names: readonly string[],
  work: (remote: Remote, tenant: string) => Promise<R>,
  onResult: (of: OfTenant<R>) => void,
): Promise<void> => {
  const failed: OfTenant<VarveError>[] = []
  for (const tenant of names) {
    try {
      onResult({ tenant, result: await gateway.withTenant(tenant, (remote) => work(remote, tenant)) })
    } catch (thrown) {
      const error = asVarveError(thrown)
      // where the gateway goes or the command is to end, the next tenant would fare the same
      if (error.endsConnection || gateway.signal.aborted) throw error
      failed.push({ tenant, result: error })
    }
  }
  if (failed.length > 0) throw failureOf(failed, names.length)
}

/**
 * Runs work for the tenant named or for all, and gives each result as it comes; a tenant whose work fails does not keep the others from theirs.
 * Gives the number of tenants. The first failure is thrown at the end; NOT_FOUND, CANCELLED, what `withGateway` throws.
 */
export const onTenants = async <R>(
  options: { readonly data: string; readonly tenant?: string },
  work: (remote: Remote, tenant: string) => Promise<R>,
  onResult: (of: OfTenant<R>) => void,
): Promise<number> => {
  const names = await namesOf(options)
  if (names.length > 0) await withGateway(options.data, (gateway) => overTenants(gateway, names, work, onResult))
  return names.length
}

/** What is printed of a tenant's result. */
export interface Printed {
  readonly json: object
  readonly lines: () => string[]
}

/** The same, printed: text as it comes, JSON with all results at the end, also where it failed for some. */
export const printEach = async <R>(
  options: { readonly data: string; readonly tenant?: string; readonly json: boolean },
  work: (remote: Remote, tenant: string) => Promise<R>,
  printed: (of: OfTenant<R>) => Printed,
  besides: object = {},
): Promise<void> => {
  const { json } = options
  const tenants: object[] = []
  printJson({ ...besides, tenants })
  const count = await onTenants(options, work, (of) => {
    const result = printed(of)
    tenants.push(result.json)
    if (!json) result.lines().forEach(print)
  })
  if (count === 0 && !json) print(NO_TENANT)
}
