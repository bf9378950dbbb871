// What the methods of one session work with: the caller, its tenant and the gateway's services.
import { authorise } from '../auth/authorise.ts'
import type { Audit } from '../auth/audit.ts'
import type { Authority } from '../auth/authority.ts'
import { asVarveError, VarveError, type ErrorCode, type ErrorDetails } from '../../protocol/errors.ts'
import { methodOf, type MethodsServedBy, type Params, type Result } from '../../protocol/methods.ts'
import type { Clock, Handler, ServedCall } from '../../protocol/peer.ts'
import type { ShownJob } from '../catalog/sqlite/job-rows.ts'
import type { MachineRow } from '../catalog/sqlite/machines.ts'
import type { Tenant } from '../catalog/sqlite/tenants.ts'
import type { Datastore } from '../datastore/datastore.ts'
import type { Backups } from '../jobs/backups.ts'
import type { Log } from '../../protocol/host/log.ts'
import type { Account, MemoryBudget } from '../memory/budget.ts'
import type { Maintenance } from '../maintenance/maintenance.ts'
import { auditDetails } from './audit-details.ts'
import type { Caller, Registry } from './registry.ts'

export interface Services {
  readonly datastore: Datastore
  readonly authority: Authority
  readonly audit: Audit
  readonly registry: Registry
  readonly backups: Backups
  readonly maintenance: Maintenance
  readonly memory: MemoryBudget
  readonly clock: Clock
  readonly log: Log
}

type Served = MethodsServedBy<'gateway'>

/** What a method's code is given. */
export interface MethodContext<N extends Served> {
  readonly services: Services
  readonly caller: Caller
  readonly tenant: Tenant
  readonly call: ServedCall<N>
  /** What the caller may make the gateway hold. */
  readonly account: Account
  /** The agent a role `agent` is confined to, null for people. */
  readonly onlyAgent: string | null
  /** A machine of the caller's; NOT_FOUND. */
  readonly machine: (name: string) => Promise<MachineRow>
  /** A job of the caller's; NOT_FOUND. */
  readonly job: (id: string) => Promise<ShownJob>
  /** Runs work in the session's turn among those who look at the catalog; TOO_MANY_REQUESTS. */
  readonly inTurn: <R>(work: () => Promise<R>) => Promise<R>
  /** Has an entry of the audit log for this call before its end. */
  readonly record: (outcome: 'begun') => Promise<void>
}

export type MethodCode<N extends Served> = (params: Params<N>, context: MethodContext<N>) => Promise<Result<N>>

/** What a call is about, for the audit log; never more than names and ids. */
const resourceOf = (params: object): string => {
  const parts = ['machine', 'job', 'point', 'disk', 'agent', 'command'].flatMap((field) => {
    const value: unknown = Reflect.get(params, field)
    return typeof value === 'string' ? [`${field}=${value}`] : []
  })
  return parts.join(' ')
}

/** Errors that cost their caller nothing: the audit log counts them past a bound, whatever is called. */
const REFUSALS: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'ROLE_FORBIDDEN',
  'NOT_SERVING',
  'NOT_FOUND',
  'MAINTENANCE_RUNNING',
])

/** Details of a damaged record that say where it lies: for reports, which only operators see. */
const PLACE_DETAILS: ReadonlySet<string> = new Set(['type', 'pack', 'offset'])

/** The error as a peer may see it: what went wrong inside, and where things lie, is for the log alone. */
export const outward = (error: VarveError): VarveError => {
  const { code, message, details } = error
  if (code === 'INTERNAL') return new VarveError('INTERNAL', 'the gateway failed; its log says more')
  if (code !== 'DATA_DAMAGED') return error
  const told = Object.fromEntries(Object.entries(details).filter(([name]) => !PLACE_DETAILS.has(name)))
  return new VarveError(code, message, { details: told, cause: error })
}

/** The refusal of what an agent may do only where it serves. */
export const notServing = (): VarveError =>
  new VarveError(
    'NOT_SERVING',
    'this connection does not serve the agent\'s machines: only that of "varve-agent run" speaks of their backups',
  )

/** Methods whose calls take turns: looks at the catalog, and questions to agents. A watcher takes one for each look. */
const TURNS: Partial<Record<Served, keyof Registry['turns']>> = {
  'tenants.list': 'listing',
  'agents.list': 'listing',
  'audit.list': 'listing',
  'machines.list': 'listing',
  'jobs.list': 'listing',
  'points.list': 'listing',
  'points.get': 'listing',
  'points.lost': 'listing',
  'points.prune': 'listing',
  'retention.list': 'listing',
  'machines.status': 'relay',
  'machines.forget': 'relay',
  'machines.qmp': 'relay',
}

/** Wraps a method's code: the role is checked before anything else, changes and refusals are audited. */
export const guarded = <N extends Served>(
  name: N,
  code: MethodCode<N>,
  services: Services,
  caller: Caller,
  tenant: Tenant,
  account: Account,
): Handler<N> => {
  const method = { name, roles: methodOf(name).roles }
  const { audited, serving = false } = methodOf(name)
  const turns = TURNS[name]
  return async (params, call) => {
    const { claims, address } = caller
    const allow = (resource: Parameters<typeof authorise>[2]): void => {
      const refusal = authorise(claims, method, resource)
      if (refusal !== null) throw refusal
    }
    const about = { subject: claims.subject, role: claims.role, action: name, resource: resourceOf(params) }
    const { datastore, backups, audit, clock } = services
    const record = (outcome: string, details: ErrorDetails): Promise<void> =>
      audit.record({ ...about, timeMs: clock.now(), tenant: tenant.id, outcome, details })
    const turn = { tenant: tenant.id, session: caller, signal: call.signal }
    const context: MethodContext<N> = {
      services,
      caller,
      tenant,
      call,
      account,
      onlyAgent: claims.role === 'agent' ? claims.subject : null,
      machine: async (machine) => {
        const row = await datastore.catalog.machines.get({
          tenant: tenant.id,
          name: machine,
          person: claims.role !== 'agent',
        })
        allow({ tenant: tenant.uuid, agent: row.agent, kind: `machine "${machine}"` })
        return row
      },
      job: async (id) => {
        const { row } = await backups.get(tenant, id)
        allow({ tenant: tenant.uuid, agent: row.agent, kind: `job ${id}` })
        return row
      },
      inTurn: (work) => services.registry.turns.listing.run(turn, work),
      record: (outcome) => record(outcome, { address }),
    }
    try {
      allow({})
      if (serving && !services.registry.serves(caller)) throw notServing()
      const run = (): Promise<Result<N>> => code(params, context)
      const result = await (turns === undefined ? run() : services.registry.turns[turns].run(turn, run))
      if (audited) await record('ok', auditDetails(name, params, result))
      return result
    } catch (thrown) {
      const error = outward(asVarveError(thrown))
      if (error.code === 'INTERNAL') services.log.error({ err: thrown, method: name }, 'a method failed')
      const job: unknown = Reflect.get(params, 'job')
      if (serving && typeof job === 'string') backups.toldCodes.note(job, error)
      const details: ErrorDetails = { ...auditDetails(name, params, null), address }
      if (REFUSALS.has(error.code))
        await audit.refused({ ...about, timeMs: clock.now(), tenant: tenant.id, error, address })
      else if (audited) await record(error.code, details)
      throw error
    }
  }
}
