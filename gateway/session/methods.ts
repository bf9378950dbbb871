// The methods that the gateway serves, each in terms of its services.
import { VarveError } from '../../protocol/errors.ts'
import { MACHINES_MAX, STREAM_WINDOW_BYTES } from '../../protocol/limits.ts'
import type { MethodsServedBy } from '../../protocol/methods.ts'
import type { Handlers } from '../../protocol/peer.ts'
import { POLICY_DEFAULT, policyOf } from '../../protocol/schemas.ts'
import { TokenRefused } from '../auth/jwt.ts'
import { verifyBearer } from '../auth/bearer.ts'
import type { Tenant } from '../catalog/sqlite/tenants.ts'
import type { Account } from '../memory/budget.ts'
import { DOWNLOAD_BYTES } from '../memory/limits.ts'
import { unlessFull } from '../common/store-error.ts'
import { answerOf } from '../jobs/agent-error.ts'
import { jobView, pointView } from '../jobs/views.ts'
import { serveDownload } from '../restore/serve-download.ts'
import { maintenance } from './maintenance-methods.ts'
import { RELAY_TIMEOUT_MS } from './status-looks.ts'
import { guarded, notServing, type MethodCode, type Services } from './context.ts'
import { endOf, type Caller } from './registry.ts'

type Methods = { readonly [N in MethodsServedBy<'gateway'>]?: MethodCode<N> }

const identities: Pick<Methods, 'session.renew' | 'agents.list' | 'agents.revoke' | 'audit.list' | 'agent.inventory'> =
  {
    'session.renew': async ({ token }, { services, caller, tenant }) => {
      const { address, claims: old } = caller
      const timeMs = services.clock.now()
      const claims = await services.audit.guard({ action: 'session.renew', address, timeMs }, async () => {
        const fresh = await verifyBearer(services.authority, token, timeMs)
        if (fresh.subject === old.subject && fresh.role === old.role && fresh.tenant === old.tenant) return fresh
        const bearer = { tenantId: tenant.id, subject: old.subject, role: old.role }
        throw new TokenRefused('TOKEN_CLAIMS', 'a session is renewed by its own subject only', bearer)
      })
      caller.claims = claims
      caller.endsMs = endOf(claims, services.clock)
      return { expiresMs: claims.expiresAt * 1000 }
    },

    'agents.list': async (_, { services, tenant }) => {
      const agents = await services.datastore.catalog.agents.list({ tenant: tenant.id })
      return {
        agents: agents.map(({ id, host, enrolledMs, seenMs, revokedMs }) => ({
          id,
          host,
          enrolledMs,
          seenMs,
          revokedMs,
          online: services.registry.online(id),
        })),
        next: null,
      }
    },

    'agents.revoke': async ({ agent }, { services, caller, tenant }) => {
      const { subject, role } = caller.claims
      const { host, revokedMs } = await services.datastore.catalog.agents.revoke({
        tenant: tenant.id,
        id: agent,
        nowMs: services.clock.now(),
        by: { subject, role },
      })
      const error = new VarveError('AGENT_REVOKED', 'the agent was revoked')
      services.registry.closeAll(error, ({ caller: { claims } }) => claims.role === 'agent' && claims.subject === agent)
      return { host, revokedMs: revokedMs! }
    },

    'audit.list': async ({ after, limit }, { services, tenant }) => {
      const entries = await services.datastore.catalog.audit.page({
        tenant: tenant.id,
        after: Number(after ?? 0),
        limit,
      })
      return {
        entries: entries.map(({ seq, timeMs, subject, role, action, resource, outcome, details }) => ({
          seq,
          timeMs,
          subject,
          role,
          action,
          resource,
          outcome,
          details: JSON.stringify(details),
        })),
        next: null,
      }
    },

    'agent.inventory': async ({ host, machines, jobs }, { services, caller, tenant }) => {
      const agent = caller.claims.subject
      const nowMs = services.clock.now()
      const { catalog } = services.datastore
      await unlessFull(services.log, 'an agent was seen', () => catalog.agents.seen({ id: agent, nowMs }))
      const policy = JSON.stringify(POLICY_DEFAULT)
      const refused = await catalog.machines.declare({ tenant: tenant.id, agent, names: machines, policy, nowMs })
      services.log.info({ agent, host, machines: machines.length, jobs: jobs.length }, 'agent is here')
      // a list made before another connection took over would fail the jobs of that one
      if (!services.registry.serves(caller)) throw notServing()
      return {
        refused: refused.map(({ machine, holder }) => ({
          machine,
          code: holder === null ? 'TOO_MANY_REQUESTS' : 'EXISTS',
          message:
            holder === null
              ? `an agent serves at most ${MACHINES_MAX} machines`
              : `the machine belongs to the agent of host ${holder}; rename it, or let an owner assign it to this agent`,
        })),
        jobs: await services.backups.reconcile(tenant, agent, jobs),
      }
    },
  }

const machines: Pick<
  Methods,
  'machines.list' | 'machines.status' | 'machines.forget' | 'machines.assign' | 'machines.qmp' | 'machines.events'
> = {
  'machines.list': async (_, { services, tenant, onlyAgent }) => {
    const rows = await services.datastore.catalog.machines.list({ tenant: tenant.id, agent: onlyAgent })
    return {
      machines: rows.map(({ name, agent, host, policy, group, job, pointId, pointMs }) => ({
        name,
        agent,
        host,
        group,
        job,
        online: services.registry.online(agent),
        policy: policyOf(policy),
        lastPoint: pointId === null || pointMs === null ? null : { id: pointId, timeMs: pointMs },
      })),
      next: null,
    }
  },

  'machines.status': async ({ machine }, { services, machine: find }) => {
    const { agent } = await find(machine)
    return services.registry.looks.status(services.registry.agent(agent), machine)
  },

  'machines.forget': async (params, { services, machine: find }) => {
    const { agent } = await find(params.machine)
    const peer = services.registry.agent(agent)
    return answerOf(peer, peer.call('agent.forget', params, { deadlineMs: RELAY_TIMEOUT_MS }))
  },

  'machines.assign': async ({ machine: name, agent }, { services, caller, tenant, machine: find }) => {
    await find(name)
    const { subject, role } = caller.claims
    const nowMs = services.clock.now()
    const by = { subject, role }
    return { changed: await services.datastore.catalog.machines.assign({ tenant: tenant.id, name, agent, nowMs, by }) }
  },

  'machines.qmp': async (params, { services, machine: find, call }) => {
    const { agent } = await find(params.machine)
    const peer = services.registry.agent(agent)
    return answerOf(peer, peer.call('agent.qmp', params, { deadlineMs: RELAY_TIMEOUT_MS, signal: call.signal }))
  },

  'machines.events': async (params, { services, machine: find, call, account }) => {
    const { agent } = await find(params.machine)
    const peer = services.registry.agent(agent)
    // the agent may fill its window
    using held = account.take(STREAM_WINDOW_BYTES)
    if (held === null) throw new VarveError('TOO_MANY_REQUESTS', 'too many events are relayed already')
    const events = peer.open('agent.events', params, { signal: call.signal })
    const relay = async (): Promise<Record<string, never>> => {
      for await (const event of events.messages) await call.send(event)
      return events.result
    }
    return answerOf(peer, relay())
  },
}

const backups: Pick<
  Methods,
  | 'backup.start'
  | 'backup.begin'
  | 'image.compare'
  | 'image.upload'
  | 'backup.commit'
  | 'backup.fail'
  | 'backup.released'
  | 'jobs.list'
  | 'jobs.watch'
  | 'jobs.cancel'
> = {
  'backup.start': async ({ machine, full, compare }, { services, caller, tenant, machine: find }) =>
    services.backups.start({ tenant, machine: await find(machine), subject: caller.claims.subject, full, compare }),

  'backup.begin': async (params, { services, caller }) => {
    await services.backups.begin(caller.claims.subject, params)
    return {}
  },

  'image.compare': (params, { services, caller, tenant }) =>
    services.backups.comparisons.compare(tenant, caller.claims.subject, params),

  'image.upload': (params, { services, caller, tenant, call, account }) =>
    services.backups.upload(tenant, caller.claims.subject, params, { call, account }),

  'backup.commit': (params, { services, caller, tenant }) =>
    services.backups.commit(tenant, caller.claims.subject, params),

  'backup.fail': async (params, { services, caller }) => {
    await services.backups.told({ ...params, agent: caller.claims.subject })
    return {}
  },

  'backup.released': async ({ job }, { services, caller }) => {
    await services.backups.released(caller.claims.subject, job)
    return {}
  },

  'jobs.list': async ({ machine, limit }, { services, tenant, onlyAgent, machine: find }) => {
    if (machine !== null) await find(machine)
    const args = { tenant: tenant.id, agent: onlyAgent, machine, limit }
    const jobs = await services.datastore.catalog.jobs.list(args)
    return { jobs: jobs.map(({ job, uploads }) => jobView(job, uploads, tenant.chunkBytes)), next: null }
  },

  'jobs.watch': async ({ job }, { services, tenant, job: find, call, inTurn }) => {
    await inTurn(() => find(job))
    return services.backups.watch(tenant, job, call, inTurn)
  },

  'jobs.cancel': async ({ job }, { services, caller, job: find }) => {
    await services.backups.cancel(await find(job), caller.claims.subject)
    return {}
  },
}

const points: Pick<Methods, 'points.list' | 'points.get' | 'image.download'> = {
  'points.list': async ({ machine, limit }, { services, tenant, onlyAgent, machine: find }) => {
    if (machine !== null) await find(machine)
    const args = { tenant: tenant.id, agent: onlyAgent, machine, before: null, limit }
    const { points } = await services.datastore.catalog.points.list(args)
    const nowMs = services.clock.now()
    return { points: points.map((point) => pointView(point, nowMs)), next: null }
  },

  'points.get': async ({ point: prefix }, { services, tenant, onlyAgent }) => {
    const point = await services.datastore.catalog.points.show({ tenant: tenant.id, agent: onlyAgent, prefix })
    return { point: pointView(point, services.clock.now()), configuration: point.configuration }
  },

  'image.download': async (params, { services: { datastore }, tenant, onlyAgent, call, account, record }) => {
    using _held = await account.admit(DOWNLOAD_BYTES, call.signal)
    let begun = false
    await serveDownload({ datastore, tenant, onlyAgent, params }, async (message) => {
      // what leaves is in the log before its first byte, however the call ends; later messages must be sent in the turn in which they come
      if (!begun) await record('begun')
      begun = true
      await call.sendHeld(message)
    })
    return {}
  },
}

const METHODS: Methods = { ...identities, ...machines, ...backups, ...points, ...maintenance }

/** Everything the gateway serves, bound to one caller. */
export const sessionHandlers = (services: Services, caller: Caller, tenant: Tenant, account: Account): Handlers =>
  Object.fromEntries(
    Object.entries(METHODS).map(([name, code]) => [
      name,
      guarded(
        name as MethodsServedBy<'gateway'>,
        code as MethodCode<MethodsServedBy<'gateway'>>,
        services,
        caller,
        tenant,
        account,
      ),
    ]),
  )
