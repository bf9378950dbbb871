// Machines: their list, groups, exclusions, agents, and the way to their QEMU.
import type { MachineRow } from '../catalog/machines.ts'
import { VarveError } from '../../protocol/errors.ts'
import { LEASE_BEGIN_MS } from '../../protocol/leases.ts'
import { MACHINES_MAX, STREAM_WINDOW_BYTES } from '../../protocol/limits.ts'
import type { MACHINE_METHODS } from '../../protocol/machine-methods.ts'
import type { Result } from '../../protocol/methods.ts'
import type { Clock } from '../../protocol/peer.ts'
import { isExcluded } from '../../protocol/plans.ts'
import type { Catalog } from '../catalog/catalog.ts'
import type { Tenant } from '../catalog/tenants.ts'
import type { Teller } from '../events/events.ts'
import { unlessFull } from '../common/store-error.ts'
import { answerOf } from '../jobs/agent-error.ts'
import type { Backups } from '../jobs/backups.ts'
import type { Log } from '../../protocol/host/log.ts'
import type { ActionsOf } from './action.ts'
import { notServing } from './door.ts'
import { keyBehind, nextOf, pageOf, TEXT_KEY } from './page.ts'
import type { Sessions } from './sessions.ts'
import { RELAY_TIMEOUT_MS, StatusLooks } from './status-looks.ts'

interface Uses {
  readonly catalog: Pick<Catalog, 'agents' | 'machines' | 'plans'>
  readonly sessions: Pick<Sessions, 'agent' | 'announce' | 'online' | 'serves'>
  readonly backups: Pick<Backups, 'moves' | 'reconcile'>
  readonly events: Pick<Teller, 'tell'>
  readonly clock: Clock
  readonly log: Log
}

type Machines = ActionsOf<keyof typeof MACHINE_METHODS>

type Kept = 'assign' | 'exclude' | 'include' | 'list' | 'setGroup'

/** Tells that another plan, or none, is to be followed for a machine. */
const tellMoved = ({ events }: Pick<Uses, 'events'>, tenant: Tenant, machine: string, text: string): void =>
  events.tell({ kind: 'plan.changed', tenant: tenant.id, machine, text, data: {} })

const kept = ({ catalog, sessions, events, clock }: Uses): Pick<Machines, `machines.${Kept}`> => {
  const view = ({ pointId, pointMs, ...row }: MachineRow): Result<'machines.list'>['machines'][number] => {
    const lastPoint = pointId === null || pointMs === null ? null : { id: pointId, timeMs: pointMs }
    const exclusion = isExcluded(row.exclusion, clock.now()) ? row.exclusion : null
    return { ...row, exclusion, online: sessions.online(row.agent), lastPoint }
  }
  return {
    'machines.list': {
      turn: 'listing',
      run: async ({ machine, after, limit }, { tenant, actor, machine: find }) => {
        if (machine !== null) return { machines: [view(await find(machine))], next: null }
        const behind = keyBehind('machines.list', after, TEXT_KEY)?.[0] ?? null
        const asked = { tenant: tenant.id, agent: actor.agent, after: behind, limit: limit + 1 }
        const page = pageOf(await catalog.machines.list(asked), limit)
        return { machines: page.rows.map(view), next: nextOf('machines.list', page, ({ name }) => [name]) }
      },
    },

    'machines.exclude': {
      details: ({ reason, untilMs }) => ({ reason, untilMs }),
      run: async ({ machine, reason, untilMs }, { actor, tenant, machine: find, change }) => {
        await find(machine)
        const sinceMs = clock.now()
        if (untilMs !== null && untilMs <= sinceMs)
          throw new VarveError('PARAMS_INVALID', 'an exclusion must end in the future: this time has passed')
        const exclusion = { by: actor.subject, reason, sinceMs, untilMs }
        await change((entry) => catalog.plans.exclude({ tenant: tenant.id, machine, exclusion }, entry))
        tellMoved({ events }, tenant, machine, `${actor.subject} excluded ${machine} from its plan: ${reason}`)
        return { exclusion }
      },
    },

    'machines.include': {
      run: async ({ machine }, { actor, tenant, machine: find, change }) => {
        await find(machine)
        const changed = await change((entry) => catalog.plans.include({ tenant: tenant.id, machine }, entry))
        if (changed) tellMoved({ events }, tenant, machine, `${actor.subject} ended the exclusion of ${machine}`)
        return { changed }
      },
    },

    'machines.setGroup': {
      details: ({ group }) => ({ group }),
      run: async ({ machine: name, group }, { actor, tenant, machine: find, change }) => {
        await find(name)
        const joined = await change((entry) => catalog.machines.setGroup({ tenant: tenant.id, name, group }, entry))
        const into = `${actor.subject} put ${name} into ${group === null ? 'no group' : `group ${group}`}`
        tellMoved({ events }, tenant, name, `${into}; its plan is ${joined.plan ?? 'none'}`)
        return joined
      },
    },

    'machines.assign': {
      run: async ({ machine: name, agent }, { tenant, machine: find, change }) => {
        await find(name)
        return { changed: await change((entry) => catalog.machines.assign({ tenant: tenant.id, name, agent }, entry)) }
      },
    },
  }
}

type Relayed = 'checkpoints' | 'events' | 'forget' | 'qmp' | 'status'
type Leased = 'endLease' | 'lease' | 'removeTarget' | 'renewLease' | 'targets'

const relayed = ({ sessions }: Uses): Pick<Machines, `machines.${Relayed}`> => {
  const looks = new StatusLooks()
  return {
    'machines.status': {
      turn: 'relay',
      run: async ({ machine }, { machine: find }) => {
        const { agent, uuid, site } = await find(machine)
        return { ...(await looks.ask(sessions.agent(agent), 'agent.status', machine)), uuid, site }
      },
    },

    'machines.checkpoints': {
      turn: 'relay',
      run: async ({ machine }, { machine: find }) => {
        const { agent } = await find(machine)
        return await looks.ask(sessions.agent(agent), 'agent.checkpoints', machine)
      },
    },

    'machines.forget': {
      turn: 'relay',
      run: async (params, { machine: find }) => {
        const { agent } = await find(params.machine)
        const peer = sessions.agent(agent)
        return answerOf(peer, peer.call('agent.forget', params, { deadlineMs: RELAY_TIMEOUT_MS }))
      },
    },

    'machines.qmp': {
      turn: 'relay',
      run: async (params, { machine: find, call: { signal } }) => {
        const { agent } = await find(params.machine)
        const peer = sessions.agent(agent)
        return answerOf(peer, peer.call('agent.qmp', params, { deadlineMs: RELAY_TIMEOUT_MS, signal }))
      },
    },

    'machines.events': {
      run: async (params, { machine: find, call, account }) => {
        const { agent } = await find(params.machine)
        const peer = sessions.agent(agent)
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
    },
  }
}

/** Leases of other programs: the agent has all that is known of them. */
const leased = ({ sessions }: Pick<Uses, 'sessions'>): Pick<Machines, `machines.${Leased}`> => ({
  'machines.lease': {
    turn: 'lease',
    details: ({ target, ttlMs, full }) => ({ target, ttlMs, full }),
    run: async ({ consistency, ...params }, { machine: find, call: { signal } }) => {
      const { agent, policy } = await find(params.machine)
      const peer = sessions.agent(agent)
      const order = { ...params, consistency: consistency ?? policy.consistency }
      return answerOf(peer, peer.call('agent.lease', order, { deadlineMs: LEASE_BEGIN_MS, signal }))
    },
  },

  'machines.renewLease': {
    turn: 'relay',
    run: async (params, { machine: find }) => {
      const { agent } = await find(params.machine)
      const peer = sessions.agent(agent)
      return answerOf(peer, peer.call('agent.renewLease', params, { deadlineMs: RELAY_TIMEOUT_MS }))
    },
  },

  'machines.endLease': {
    turn: 'relay',
    details: ({ lease, success }) => ({ lease, success }),
    run: async (params, { machine: find }) => {
      const { agent } = await find(params.machine)
      const peer = sessions.agent(agent)
      return answerOf(peer, peer.call('agent.endLease', params, { deadlineMs: RELAY_TIMEOUT_MS }))
    },
  },

  'machines.targets': {
    turn: 'relay',
    run: async (params, { machine: find }) => {
      const { agent } = await find(params.machine)
      const peer = sessions.agent(agent)
      return answerOf(peer, peer.call('agent.targets', params, { deadlineMs: RELAY_TIMEOUT_MS }))
    },
  },

  'machines.removeTarget': {
    turn: 'relay',
    details: ({ target }) => ({ target }),
    run: async (params, { machine: find }) => {
      const { agent } = await find(params.machine)
      const peer = sessions.agent(agent)
      return answerOf(peer, peer.call('agent.removeTarget', params, { deadlineMs: RELAY_TIMEOUT_MS }))
    },
  },
})

const declared = ({ catalog, sessions, backups, clock, log }: Uses): Pick<Machines, 'agent.inventory'> => ({
  'agent.inventory': {
    run: async ({ host, machines, jobs, relay = null }, { actor, tenant }) => {
      const agent = actor.subject
      const nowMs = clock.now()
      await unlessFull(log, 'an agent was seen', () => catalog.agents.seen({ id: agent, nowMs }))
      const asked = { tenant: tenant.id, agent, machines, nowMs }
      const { held, tooMany, changed } = await catalog.machines.declare(asked)
      log.info({ agent, host, machines: machines.length, jobs: jobs.length }, 'agent is here')
      for (const one of changed) log.warn({ agent, ...one }, 'a machine has another uuid; its backups go on')
      // a list made before another connection took over would fail the jobs of that one
      if (!sessions.serves(actor)) throw notServing()
      sessions.announce(actor, new Map(machines.map(({ name, uuid, here }) => [name, { uuid, here }])), relay)
      const elsewhere = new Set([...held.map(({ name }) => name), ...tooMany])
      const gone = machines.filter(({ name, here }) => !here && !elsewhere.has(name)).map(({ name }) => name)
      await backups.moves.release(tenant, agent, gone)
      const refused = await backups.moves.claim(tenant, agent, held)
      const message = `an agent serves at most ${MACHINES_MAX} machines`
      return {
        refused: [...refused, ...tooMany.map((machine) => ({ machine, code: 'LIMIT_REACHED' as const, message }))],
        jobs: await backups.reconcile(tenant, agent, jobs),
      }
    },
  },
})

export const machineActions = (uses: Uses): Machines => ({
  ...kept(uses),
  ...relayed(uses),
  ...leased(uses),
  ...declared(uses),
})
