// Drills: what came of them is kept, listed and shown; the gateway makes none itself.
import type { DRILL_METHODS } from '../../protocol/drill-methods.ts'
import type { Clock } from '../../protocol/peer.ts'
import type { Datastore } from '../datastore/datastore.ts'
import type { Events } from '../events/events.ts'
import { DRILL_BYTES } from '../memory/limits.ts'
import type { ActionsOf } from './action.ts'
import { COUNT_KEY, keyBehind, nextOf, pageOf } from './page.ts'

export const drillActions = ({
  datastore: { catalog, space },
  events,
  clock,
}: {
  readonly datastore: Pick<Datastore, 'catalog' | 'space'>
  readonly events: Pick<Events, 'wake'>
  readonly clock: Clock
}): ActionsOf<keyof typeof DRILL_METHODS> => ({
  'drills.add': {
    details: ({ outcome: { verdict, check } }) => ({ verdict, check }),
    run: async ({ drill: id, point, outcome, log, picture }, { actor: { agent, subject }, tenant, change }) => {
      const found = await catalog.points.find({ tenant: tenant.id, agent, prefix: point })
      // on a full disk the verdict alone is kept: what is left there is not for pictures
      const { freeBytes, reserveBytes } = await space.room()
      const seen = freeBytes > reserveBytes ? { log, picture } : { log: '', picture: null }
      const told = { id, tenant: tenant.id, point: found.id, subject, outcome, ...seen, nowMs: clock.now() }
      await change((entry) => catalog.drills.add(told, entry))
      events.wake()
      return {}
    },
  },

  'drills.list': {
    turn: 'listing',
    run: async ({ machine, point: prefix, after, limit }, { actor: { agent }, tenant, machine: find }) => {
      if (machine !== null) await find(machine)
      const list = `drills.list ${machine ?? ''} ${prefix ?? ''}`
      const before = keyBehind(list, after, COUNT_KEY)?.[0] ?? null
      const point = prefix === null ? null : (await catalog.points.show({ tenant: tenant.id, agent, prefix })).id
      const asked = { tenant: tenant.id, agent, machine, point, before, limit: limit + 1 }
      const page = pageOf(await catalog.drills.list(asked), limit)
      return { drills: page.rows.map(({ seq: _, ...drill }) => drill), next: nextOf(list, page, ({ seq }) => [seq]) }
    },
  },

  'drills.get': {
    turn: 'listing',
    run: async ({ drill: id }, { actor: { agent }, tenant, call, account }) => {
      using _held = await account.admit(DRILL_BYTES, call.signal)
      return await catalog.drills.get({ tenant: tenant.id, agent, id })
    },
  },
})
