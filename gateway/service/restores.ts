// Restores that people order from agents: where they may go, begun, listed, watched and cancelled.
import * as v from 'valibot'
import type { RESTORE_METHODS } from '../../protocol/restore-methods.ts'
import * as s from '../../protocol/schemas.ts'
import type { Catalog } from '../catalog/catalog.ts'
import type { Restores } from '../jobs/restores.ts'
import type { ActionsOf } from './action.ts'
import { keyBehind, nextOf } from './page.ts'

const RESTORE_KEY = v.strictTuple([s.timeMs, s.uuid])

/** Longest list of disks and their places in an entry of the audit log, in characters. */
const DETAIL_CHARS_MAX = 1024

export const restoreActions = ({
  catalog,
  restores,
}: {
  readonly catalog: Pick<Catalog, 'restores'>
  readonly restores: Restores
}): ActionsOf<keyof typeof RESTORE_METHODS> => ({
  'restores.places': {
    turn: 'relay',
    run: (params, { tenant }) => restores.places(tenant, params),
  },

  'restores.start': {
    details: ({ disks, overwrite }, result) => ({
      disks: disks
        .map(({ disk, to }) => `${disk}=${to}`)
        .join(' ')
        .slice(0, DETAIL_CHARS_MAX),
      ...(disks[0]!.how === 'new' ? {} : { how: disks[0]!.how }),
      overwrite,
      ...(result === null ? {} : { restore: result.restore }),
    }),
    run: (asked, { actor, tenant }) => restores.start({ tenant, subject: actor.subject, asked }),
  },

  'restores.list': {
    turn: 'listing',
    run: async ({ machine, state, after, limit }, { tenant }) => {
      const list = `restores.list ${machine ?? ''} ${state ?? ''}`
      const key = keyBehind(list, after, RESTORE_KEY)
      const behind = key === null ? null : { startedMs: key[0], id: key[1] }
      const { restores: rows, more } = await catalog.restores.list({
        tenant: tenant.id,
        machine,
        state,
        after: behind,
        limit,
      })
      const next = nextOf(list, { rows, more }, ({ startedMs, id }) => [startedMs, id])
      return { restores: rows.map((row) => restores.shown(row)), next }
    },
  },

  'restores.watch': {
    run: ({ restore }, { tenant, call, inTurn }) =>
      restores.watch(call, restore, () => inTurn(() => restores.get(tenant, restore))),
  },

  'restores.cancel': {
    run: async ({ restore }, { actor, tenant, change }) => {
      await restores.cancel(tenant, restore, actor.subject, change)
      return {}
    },
  },
})
