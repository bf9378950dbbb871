// The services behind a session over a real datastore, with a clock that the test moves.
import type { Tenant } from '../../../gateway/catalog/tenants.ts'
import { openAuthority } from '../../../gateway/auth/authority.ts'
import { Audit } from '../../../gateway/auth/audit.ts'
import { issueToken } from '../../../gateway/auth/tokens.ts'
import { Datastore } from '../../../gateway/datastore/datastore.ts'
import { Backups } from '../../../gateway/jobs/backups.ts'
import { openLog } from '../../../protocol/host/log.ts'
import { Maintenance } from '../../../gateway/maintenance/maintenance.ts'
import { MemoryBudget } from '../../../gateway/memory/budget.ts'
import { serviceOf, type Parts } from '../../../gateway/service/service.ts'
import type { SessionParts } from '../../../gateway/session/connection.ts'
import { Registry } from '../../../gateway/session/registry.ts'
import type { Role } from '../../../protocol/claims.ts'
import { HandClock } from '../../support/hand-clock.ts'

export interface TestServices extends AsyncDisposable {
  readonly services: Parts & SessionParts
  readonly clock: HandClock
  readonly tenant: Tenant
  tokenFor(role: Role, ttlMs?: number): Promise<string>
}

/** Opens everything in `folder`, with the tenant `acme`. */
export const testServices = async (folder: string): Promise<TestServices> => {
  await using resources = new AsyncDisposableStack()
  const clock = new HandClock(Date.UTC(2026, 10, 20, 12))
  const log = openLog({ level: 'silent' })
  const datastore = resources.use(await Datastore.open({ folder, log, nowMs: () => clock.now(), threads: 1 }))
  const { catalog } = datastore
  const authority = await openAuthority({ folder, catalog, nowMs: clock.now() })
  const failures: unknown[] = []
  const audit = resources.use(new Audit({ catalog, onError: (error) => void failures.push(error) }))
  resources.defer(() => {
    if (failures.length > 0) throw new Error('the audit log failed', { cause: failures[0] })
  })
  const registry = new Registry(clock)
  const backups = new Backups({ datastore, agents: registry, clock, log })
  const maintenance = resources.use(new Maintenance({ datastore, clock, log }))
  const tenant = await catalog.tenants.add({
    name: 'acme',
    id: '0192aaaa-0000-4000-8000-0000c0ffee42',
    idKey: new Uint8Array(32),
    chunkBytes: 65_536,
    nowMs: clock.now(),
  })
  const parts = { folder, datastore, authority, audit, sessions: registry, backups, maintenance, clock, log }
  const owned = resources.move()
  return {
    services: { ...parts, ...serviceOf(parts), registry, memory: new MemoryBudget() },
    clock,
    tenant,
    tokenFor: async (role, ttlMs = 60 * 60 * 1000) => {
      const request = { tenant, subject: 'ada', role, ttlMs, nowMs: clock.now() }
      return (await issueToken(authority, request)).token
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}
