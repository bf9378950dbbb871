// The one decision: no role, method or resource may let a caller reach another tenant or another agent.
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { authorise, notFound, type Resource } from '../../../gateway/auth/authorise.ts'
import { ROLES, type Role } from '../../../protocol/claims.ts'

const TENANTS = ['tenant-a', 'tenant-b', 'tenant-c'] as const
const SUBJECTS = ['agent-1', 'agent-2', 'ann'] as const

const claims = fc.record({
  tenant: fc.constantFrom(...TENANTS),
  subject: fc.constantFrom(...SUBJECTS),
  role: fc.constantFrom(...ROLES),
})
const method = fc.record({ name: fc.constantFrom('points.list', 'x'), roles: fc.subarray([...ROLES]) })
const everyRole = { name: 'points.list', roles: ROLES }
const resource: fc.Arbitrary<Resource> = fc.record(
  {
    tenant: fc.constantFrom(...TENANTS, null),
    agent: fc.constantFrom(...SUBJECTS, null),
    kind: fc.constantFrom('restore point', 'machine'),
  },
  { requiredKeys: [] },
)

const caller = (role: Role) => ({ tenant: 'tenant-a', subject: 'agent-1', role })

describe('properties', () => {
  test('what is allowed is the caller’s own tenant’s, or no tenant’s', () => {
    fc.assert(
      fc.property(claims, method, resource, (claims, method, resource) => {
        if (authorise(claims, method, resource) !== null) return
        expect([claims.tenant, undefined]).toContain(resource.tenant)
      }),
    )
  })

  test('no role is allowed that the method does not name', () => {
    fc.assert(
      fc.property(claims, method, resource, (claims, method, resource) => {
        fc.pre(!method.roles.includes(claims.role))
        expect(authorise(claims, method, resource)?.code).toBe('ROLE_FORBIDDEN')
      }),
    )
  })

  test('an agent reaches its own things only, whatever the method says', () => {
    fc.assert(
      fc.property(claims, resource, (claims, resource) => {
        fc.pre(resource.tenant !== undefined)
        const error = authorise({ ...claims, role: 'agent' }, everyRole, resource)
        const own = resource.tenant === claims.tenant && resource.agent === claims.subject
        expect(error?.code ?? 'allowed').toBe(own ? 'allowed' : 'NOT_FOUND')
      }),
    )
  })

  test('who runs the platform reaches nothing inside any tenant', () => {
    fc.assert(
      fc.property(claims, resource, (claims, resource) => {
        fc.pre(resource.tenant !== undefined)
        expect(authorise({ ...claims, role: 'platform' }, everyRole, resource)?.code).toBe('NOT_FOUND')
      }),
    )
  })

  test('another tenant’s resource is answered exactly as one that does not exist', () => {
    fc.assert(
      fc.property(claims, method, resource, (claims, method, resource) => {
        fc.pre(typeof resource.tenant === 'string' && resource.tenant !== claims.tenant)
        const foreign = authorise(claims, method, resource)
        const { kind } = resource
        const missing = authorise(claims, method, { ...(kind === undefined ? {} : { kind }), tenant: null })
        const seen = (error: typeof foreign): unknown[] => [error?.code, error?.message, error?.details, error?.cause]
        expect(foreign).not.toBeNull()
        expect(seen(foreign)).toEqual(seen(missing))
        if (foreign?.code === 'NOT_FOUND') expect(seen(foreign)).toEqual(seen(notFound(kind)))
      }),
    )
  })
})

describe('examples', () => {
  test.each(ROLES.filter((role) => role !== 'platform' && role !== 'agent'))('%s reaches its own tenant', (role) => {
    expect(authorise(caller(role), everyRole, { tenant: 'tenant-a', agent: 'agent-2' })).toBeNull()
  })

  test('an agent reaches what is its own, and calls that are about no resource', () => {
    expect(authorise(caller('agent'), everyRole, { tenant: 'tenant-a', agent: 'agent-1' })).toBeNull()
    expect(authorise(caller('agent'), everyRole, {})).toBeNull()
  })

  test('who runs the platform may use methods that are about no tenant’s data', () => {
    expect(authorise(caller('platform'), { name: 'tenants.list', roles: ['platform'] }, {})).toBeNull()
  })

  test('a thing with an agent but no tenant is nobody’s', () => {
    for (const role of ROLES) expect(authorise(caller(role), everyRole, { agent: 'agent-1' })?.code).toBe('NOT_FOUND')
  })

  test('the refusal of a role names the role and the method, and nothing of the resource', () => {
    const error = authorise(caller('viewer'), { name: 'agents.revoke', roles: ['owner'] }, { tenant: 'tenant-b' })
    expect(error?.message).toBe('the role viewer may not use agents.revoke')
  })
})
