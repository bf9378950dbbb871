// The methods that keep a tenant's datastore, each in terms of the gateway's services.
import { VarveError } from '../../protocol/errors.ts'
import { REPORT_ROWS_MAX, type MAINTENANCE_METHODS } from '../../protocol/maintenance.ts'
import { DAYS_MAX, type Retention } from '../../protocol/retention.ts'
import { DAY_MS } from '../../protocol/host/duration.ts'
import type { StoredPoint } from '../catalog/sqlite/points.ts'
import { pointView } from '../jobs/views.ts'
import { keepState } from '../maintenance/keep-state.ts'
import { prune } from '../maintenance/prune.ts'
import type { MethodCode, MethodContext } from './context.ts'

/** Furthest time that a point can be locked until, in milliseconds from now. */
const LOCK_MAX_MS = DAYS_MAX * DAY_MS

/** A point of the tenant by the first characters of its id; NOT_FOUND, AMBIGUOUS. */
const findPoint = (
  { services, tenant }: Pick<MethodContext<'points.hold'>, 'services' | 'tenant'>,
  prefix: string,
): Promise<StoredPoint> => services.datastore.catalog.points.find({ tenant: tenant.id, agent: null, prefix })

export const maintenance: { readonly [N in keyof typeof MAINTENANCE_METHODS]: MethodCode<N> } = {
  'points.hold': async ({ point: prefix, held }, context) => {
    const { services, tenant } = context
    const { id } = await findPoint(context, prefix)
    await services.datastore.catalog.points.hold({ tenant: tenant.id, id, held })
    await keepState(services.datastore.tenantStore(tenant), services.log)
    return { point: pointView(await findPoint(context, id), context.services.clock.now()) }
  },

  'points.lock': async ({ point: prefix, untilMs }, context) => {
    const { services, tenant } = context
    const { id } = await findPoint(context, prefix)
    const nowMs = services.clock.now()
    if (untilMs <= nowMs) throw new VarveError('PARAMS_INVALID', 'a lock must end in the future: this time has passed')
    // nobody could ever take it back
    if (untilMs > nowMs + LOCK_MAX_MS)
      throw new VarveError('PARAMS_INVALID', `a lock must end within ${DAYS_MAX} days from now`)
    await services.datastore.catalog.points.lock({ tenant: tenant.id, id, untilMs })
    await keepState(services.datastore.tenantStore(tenant), services.log)
    return { point: pointView(await findPoint(context, id), context.services.clock.now()) }
  },

  'points.prune': async (params, { services, caller, tenant }) => {
    const { subject, role } = caller.claims
    const { catalog } = services.datastore
    const pruned = await prune({ catalog, tenant, params, nowMs: services.clock.now(), by: { subject, role } })
    if (pruned.removed > 0) await keepState(services.datastore.tenantStore(tenant), services.log)
    return pruned
  },

  'points.lost': async ({ point: prefix }, context) => {
    const { services, tenant } = context
    const { id } = await findPoint(context, prefix)
    const args = { tenant: tenant.id, point: id, disk: null, limit: REPORT_ROWS_MAX }
    const { lost, lostCount } = await services.datastore.catalog.lost.show(args)
    return { lost, lostCount }
  },

  'retention.set': async ({ scope, name, rules, newGroup }, { services, tenant }) => {
    if ((scope === 'tenant') !== (name === ''))
      throw new VarveError(
        'PARAMS_INVALID',
        'rules of a group or a machine have its name, those of the tenant have none',
      )
    const args = { tenant: tenant.id, scope, name, rules: rules === null ? null : JSON.stringify(rules), newGroup }
    await services.datastore.catalog.retention.set(args)
    return {}
  },

  'retention.list': async (_, { services, tenant }) => {
    const policies = await services.datastore.catalog.retention.list({ tenant: tenant.id })
    return { policies: policies.map(({ rules, ...policy }) => ({ ...policy, rules: JSON.parse(rules) as Retention })) }
  },

  'machines.setGroup': async ({ machine, group }, { services, tenant, machine: find }) => {
    await find(machine)
    await services.datastore.catalog.machines.setGroup({ tenant: tenant.id, name: machine, group })
    return {}
  },

  'store.collect': async (params, { services, caller, tenant, call }) => {
    const { subject, role } = caller.claims
    const about = { tenant: tenant.id, subject, role, action: 'point.acceptLoss', outcome: 'asked' }
    const { dryRun, acceptLoss = [] } = params
    // before anything may go
    for (const point of dryRun ? [] : acceptLoss)
      await services.audit.record({
        ...about,
        timeMs: services.clock.now(),
        resource: `point=${point}`,
        details: {},
      })
    return services.maintenance.run('store.collect', tenant, params, call)
  },
  'store.verify': (params, { services, tenant, call }) =>
    services.maintenance.run('store.verify', tenant, params, call),
  'store.check': (params, { services, tenant, call }) => services.maintenance.run('store.check', tenant, params, call),
  'store.usage': (params, { services, tenant, call }) => services.maintenance.run('store.usage', tenant, params, call),
}
