// The one decision: may this caller use this method on this resource.
import type { Claims, Role } from '../../protocol/claims.ts'
import { VarveError } from '../../protocol/errors.ts'

export interface Method {
  readonly name: string
  readonly roles: readonly Role[]
}

/**
 * What a call is about. `tenant` is the uuid of the tenant it belongs to, null where the resource does not exist, absent only
 * where the call concerns no tenant's data; `agent` is the id of the agent it belongs to, null or absent where it belongs to
 * none.
 */
export interface Resource {
  readonly tenant?: string | null
  readonly agent?: string | null
  /** Its name in an error, such as `machine "db1"`; must be the same for a missing one. */
  readonly kind?: string
}

/** The error for an absent resource; the same words for one that belongs to another tenant. */
export const notFound = (kind = 'such resource'): VarveError => new VarveError('NOT_FOUND', `there is no ${kind}`)

/** The error for a method that the role may not use. */
export const forbidden = (role: Role, method: string): VarveError =>
  new VarveError(
    'ROLE_FORBIDDEN',
    role === 'platform'
      ? `the platform may not use ${method}: it reaches nothing inside a tenant; take a token of the tenant's`
      : `the role ${role} may not use ${method}`,
  )

/**
 * Null when allowed, else ROLE_FORBIDDEN or NOT_FOUND; pure. A resource that does not exist is given as `{ kind, tenant: null }`,
 * so that the answer is the same as for another tenant's.
 */
export const authorise = (
  claims: Pick<Claims, 'tenant' | 'subject' | 'role'>,
  method: Method,
  resource: Resource,
): VarveError | null => {
  // the role is judged before the resource is looked at: this answer depends on the caller alone
  if (!method.roles.includes(claims.role)) return forbidden(claims.role, method.name)
  const { tenant, agent, kind } = resource
  if (tenant === undefined) return (agent ?? null) === null ? null : notFound(kind)
  // the platform manages tenants and has no access to their data
  if (claims.role === 'platform' || tenant !== claims.tenant) return notFound(kind)
  if (claims.role === 'agent' && agent !== claims.subject) return notFound(kind)
  return null
}
