// Restore points: their list, images, holds, locks and removal.
import * as v from 'valibot'
import * as s from '../../protocol/schemas.ts'
import type { Tenant } from '../catalog/tenants.ts'
import type { StoredPoint } from '../catalog/points.ts'
import { VarveError } from '../../protocol/errors.ts'
import { DAY_MS } from '../../protocol/host/duration.ts'
import type { Clock } from '../../protocol/peer.ts'
import type { Result } from '../../protocol/methods.ts'
import type { POINT_METHODS } from '../../protocol/point-methods.ts'
import { DAYS_MAX } from '../../protocol/retention.ts'
import type { Datastore } from '../datastore/datastore.ts'
import { pointView } from '../jobs/views.ts'
import type { Restores } from '../jobs/restores.ts'
import type { Log } from '../../protocol/host/log.ts'
import { keepState } from '../maintenance/keep-state.ts'
import { prune } from '../maintenance/prune.ts'
import { CHANGES_BYTES, DOWNLOAD_BYTES } from '../memory/limits.ts'
import { changesOf } from '../restore/changes.ts'
import { serveDownload } from '../restore/serve-download.ts'
import { serveReads } from '../restore/serve-reads.ts'
import type { Teller } from '../events/events.ts'
import { removedPoints } from '../events/removed.ts'
import type { ByHand } from '../scheduler/by-hand.ts'
import { pruneSummary } from '../scheduler/upkeep-words.ts'
import type { ActionsOf } from './action.ts'
import { keyBehind, nextOf, pageOf } from './page.ts'

interface Uses {
  readonly byHand: Pick<ByHand, 'run'>
  readonly datastore: Datastore
  readonly restores: Pick<Restores, 'mayRead' | 'refusedRead'>
  readonly events: Teller
  readonly clock: Clock
  readonly log: Log
}

type Points = ActionsOf<keyof typeof POINT_METHODS>

/** Furthest time that a point can be locked until, in milliseconds from now. */
const LOCK_MAX_MS = DAYS_MAX * DAY_MS

const POINT_KEY = v.strictTuple([s.timeMs, s.uuid])
const PLACE_KEY = v.strictTuple([s.diskName, s.count])

/** A point of the tenant by the first characters of its id; NOT_FOUND, AMBIGUOUS. */
const findPoint = ({ datastore: { catalog } }: Uses, tenant: Tenant, prefix: string): Promise<StoredPoint> =>
  catalog.points.find({ tenant: tenant.id, agent: null, prefix })

type Shown = 'image.download' | 'image.read' | 'points.changes' | 'points.get' | 'points.list' | 'points.lost'

const shown = (uses: Uses): Pick<Points, Shown> => {
  const { datastore, restores, clock } = uses
  const { catalog } = datastore
  /** An agent reads what is not its own while it restores just that, by a person's order. */
  const confinedTo = (agent: string | null, image: { readonly point: string; readonly disk: string }): string | null =>
    agent !== null && restores.mayRead(agent, image) ? null : agent
  return {
    'points.list': {
      turn: 'listing',
      run: async ({ machine, untilMs, after, limit }, { actor, tenant, machine: find }) => {
        if (machine !== null) await find(machine)
        const list = `points.list ${machine ?? ''} ${untilMs ?? ''}`
        // no id is before the empty one
        const first = untilMs === null ? [] : ([untilMs + 1, ''] as const)
        const [timeMs, id] = keyBehind(list, after, POINT_KEY) ?? first
        const before = timeMs === undefined || id === undefined ? null : { timeMs, id }
        const asked = { tenant: tenant.id, agent: actor.agent, machine, before, limit }
        const { points: rows, more } = await catalog.points.list(asked)
        const nowMs = clock.now()
        const points = rows.map((point) => pointView(point, nowMs))
        return { points, next: nextOf(list, { rows, more }, (point) => [point.timeMs, point.id]) }
      },
    },

    'points.get': {
      turn: 'listing',
      run: async ({ point: prefix }, { actor, tenant }) => {
        const point = await catalog.points.show({ tenant: tenant.id, agent: actor.agent, prefix })
        const { configuration, missing } = point
        return { point: pointView(point, clock.now()), configuration, missing: [...missing] }
      },
    },

    'points.lost': {
      turn: 'listing',
      run: async ({ point: prefix, after, limit }, { tenant }) => {
        const { id: point } = await findPoint(uses, tenant, prefix)
        const list = `points.lost ${point}`
        const [disk, offset] = keyBehind(list, after, PLACE_KEY) ?? []
        const behind = disk === undefined || offset === undefined ? null : { disk, offset }
        const asked = { tenant: tenant.id, point, disk: null, after: behind, limit: limit + 1 }
        const { lost, lostCount } = await catalog.lost.show(asked)
        const page = pageOf(lost, limit)
        return { lost: [...page.rows], lostCount, next: nextOf(list, page, (range) => [range.disk, range.offset]) }
      },
    },

    'points.changes': {
      run: async (params, { actor, tenant, call: { signal }, account }) => {
        using _held = await account.admit(CHANGES_BYTES, signal)
        return await changesOf({ datastore, tenant, onlyAgent: actor.agent, params, signal })
      },
    },

    'image.download': {
      run: async (params, { actor, tenant, call, account, begun }) => {
        using _held = await account.admit(DOWNLOAD_BYTES, call.signal)
        let sends = false
        const { agent } = actor
        const onlyAgent = confinedTo(agent, params)
        try {
          await serveDownload({ datastore, tenant, onlyAgent, params }, async (message) => {
            // a download is logged before its first byte, however the call ends; later messages must be sent in the turn in which
            // they arrive
            if (!sends) await begun()
            sends = true
            await call.sendHeld(message)
          })
        } catch (thrown) {
          if (agent !== null) restores.refusedRead(agent, params, thrown)
          throw thrown
        }
        return {}
      },
    },

    'image.read': {
      run: async (params, { actor, tenant, call, account, begun }) => {
        const { agent } = actor
        try {
          await serveReads({ datastore, tenant, onlyAgent: confinedTo(agent, params), params, account, call, begun })
        } catch (thrown) {
          if (agent !== null) restores.refusedRead(agent, params, thrown)
          throw thrown
        }
        return {}
      },
    },
  }
}

type Protecting = 'points.hold' | 'points.lock' | 'points.use' | 'points.prune'

const protectedBy = (uses: Uses): Pick<Points, Protecting> => {
  const { datastore, events, byHand, clock, log } = uses
  const { catalog } = datastore
  const changed = async (tenant: Tenant, id: string): Promise<{ point: s.Point }> => {
    await keepState(datastore.tenantStore(tenant), log)
    return { point: pointView(await findPoint(uses, tenant, id), clock.now()) }
  }
  return {
    'points.hold': {
      details: ({ held }) => ({ held }),
      run: async ({ point: prefix, held }, { tenant, change }) => {
        const { id } = await findPoint(uses, tenant, prefix)
        // the caller may have named it by its first characters
        await change((entry) => catalog.points.hold({ tenant: tenant.id, id, held }, entry), { details: { id } })
        return changed(tenant, id)
      },
    },

    'points.lock': {
      details: ({ untilMs }) => ({ untilMs }),
      run: async ({ point: prefix, untilMs }, { tenant, change }) => {
        const { id } = await findPoint(uses, tenant, prefix)
        const nowMs = clock.now()
        if (untilMs <= nowMs)
          throw new VarveError('PARAMS_INVALID', 'a lock must end in the future: this time has passed')
        // nobody could ever undo it
        if (untilMs > nowMs + LOCK_MAX_MS)
          throw new VarveError('PARAMS_INVALID', `a lock must end within ${DAYS_MAX} days from now`)
        await change((entry) => catalog.points.lock({ tenant: tenant.id, id, untilMs }, entry), { details: { id } })
        return changed(tenant, id)
      },
    },

    'points.use': {
      details: ({ use, ttlMs }) => ({ use, ttlMs }),
      run: async ({ use, point, ttlMs }, { actor: { subject, agent }, tenant, change }) => {
        // only a point that the caller may read; what ends may be of one that is gone
        if (ttlMs > 0) await catalog.points.find({ tenant: tenant.id, agent, prefix: point })
        const nowMs = clock.now()
        const untilMs = nowMs + ttlMs
        const user = agent ?? `person ${subject}`
        const used = { tenant: tenant.id, use, user, agent, point, untilMs, nowMs }
        await change((entry) => catalog.points.use(used, entry))
        return { untilMs }
      },
    },

    'points.prune': {
      turn: 'listing',
      details: ({ dryRun, group, plan, rules, points }, result) => ({
        dryRun,
        ...(group === null ? {} : { group }),
        ...(plan === null ? {} : { plan }),
        ...(rules === null ? {} : { rules: JSON.stringify(rules) }),
        ...(points === null ? {} : { named: points.length }),
        ...(result === null ? {} : { removed: result.removed }),
      }),
      run: async (params, { actor: { subject, role }, tenant }) => {
        const work = (): Promise<Result<'points.prune'>> =>
          prune({ catalog, tenant, params, nowMs: clock.now(), by: { subject, role } })
        if (params.dryRun) return await work()
        const pruned = await byHand.run(
          { kind: 'prune', tenant: tenant.id, subject },
          async (begins) => {
            const done = await work()
            // what removed nothing is no run
            if (done.removed > 0) await begins()
            return done
          },
          ({ removed }) => pruneSummary(removed),
        )
        if (pruned.removed === 0) return pruned
        events.tell(removedPoints({ tenant: tenant.id, removed: pruned.removed, subject }))
        await keepState(datastore.tenantStore(tenant), log)
        return pruned
      },
    },
  }
}

export const pointActions = (uses: Uses): Points => ({ ...shown(uses), ...protectedBy(uses) })
