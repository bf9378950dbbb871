// Commands over tenants: the one named or the token's, or all of a data folder, one after the other.
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { print, printJson } from '../../protocol/host/output.ts'
import { everyRow } from '../../protocol/paging.ts'
import type { Common } from './options.ts'
import { checkTenant, outsideTenants, withGateway, type Reached, type Remote } from './remote.ts'
import { NO_TENANT } from './tenant.ts'

interface Failed {
  readonly tenant: string
  readonly error: VarveError
}

/** The error of a command whose work failed for some of its tenants; a tenant is named where there are several. */
const failureOf = ([first, ...others]: readonly [Failed, ...Failed[]], count: number): VarveError => {
  const { tenant, error } = first
  if (count === 1) return error
  const more = others.length === 0 ? '' : `; and for ${others.length} more of ${count} tenants`
  return new VarveError(error.code, `${tenant}: ${error.message}${more}`, { cause: error })
}

/** The tenants that a command covers. */
const namesOf = async (reached: Reached, tenant: string | undefined): Promise<string[]> => {
  if (tenant !== undefined) return [tenant]
  if (reached.tenants !== 'all') return [...reached.tenants]
  return await reached.session(null, async ({ peer, signal }) => {
    const rows = await everyRow(
      (after) => peer.call('tenants.list', { after }, { signal }),
      ({ tenants }) => tenants,
    )
    return rows.map(({ name }) => name)
  })
}

/**
 * Runs work for the named tenant or for all, and passes each result on as it comes; a failure does not stop the other tenants'
 * work and the first one is thrown at the end. Returns the number of tenants. NOT_FOUND, CANCELLED.
 */
export const overTenants = async <R>(
  reached: Reached,
  tenant: string | undefined,
  work: (remote: Remote, tenant: string) => Promise<R>,
  onResult: (tenant: string, result: R) => void,
): Promise<number> => {
  const names = await namesOf(reached, tenant)
  const failed: Failed[] = []
  for (const name of names) {
    try {
      onResult(name, await reached.session(name, (remote) => work(remote, name)))
    } catch (thrown) {
      const error = asVarveError(thrown)
      // if the gateway stops or the command is interrupted, the next tenant would fail likewise
      if (error.endsConnection || reached.signal.aborted) throw error
      failed.push({ tenant: name, error })
    }
  }
  const [first, ...others] = failed
  if (first !== undefined) throw failureOf([first, ...others], names.length)
  return names.length
}

/** What a command does for each tenant, and how its results are printed. */
export interface Each<R> {
  /** A named thing that exists in one tenant only. */
  readonly ofOne?: readonly unknown[]
  readonly work: (remote: Remote, tenant: string) => Promise<R>
  /** What the document has of it, besides the tenant's name; absent for the result as it is. */
  readonly json?: (result: R) => object
  readonly lines: (tenant: string, result: R) => string[]
  readonly bad?: (result: R) => boolean
  /** What is checked first, across all tenants, if permitted, and added to the document. */
  readonly first?: (reached: Reached) => Promise<object>
}

/**
 * Runs it and prints text as it comes, JSON with all results at the end, also where it failed for some; returns the tenants with
 * bad news.
 */
export const printEach = async <R extends object>(options: Common, each: Each<R>): Promise<string[]> => {
  const { tenant, json } = options
  const bad: string[] = []
  if (each.ofOne?.some((one) => one !== undefined) === true)
    checkTenant(options, 'a machine, a group or a point needs its tenant')
  await withGateway(options, async (reached) => {
    const tenants: object[] = []
    printJson({ tenants })
    if (each.first !== undefined) printJson({ ...(await each.first(reached)), tenants })
    else if (reached.tenants.length === 0) throw outsideTenants()
    const count = await overTenants(reached, tenant, each.work, (name, result) => {
      if (each.bad?.(result) === true) bad.push(name)
      tenants.push({ tenant: name, ...(each.json?.(result) ?? result) })
      if (!json) each.lines(name, result).forEach(print)
    })
    if (count === 0 && reached.tenants === 'all' && !json) print(NO_TENANT)
  })
  return bad
}
