// Runs as people see them: what plans and upkeep have done, and what is due.
import * as v from 'valibot'
import type { RUN_METHODS } from '../../protocol/run-methods.ts'
import type { Run } from '../../protocol/runs.ts'
import type { Catalog } from '../catalog/catalog.ts'
import type { RunRow } from '../catalog/runs.ts'
import type { ActionsOf } from './action.ts'
import { keyBehind, nextOf, pageOf } from './page.ts'

const RUN_KEY = v.strictTuple([v.pipe(v.number(), v.safeInteger(), v.minValue(0)), v.string()])

/** A run without what only gateways need. */
export const runView = ({
  tenant: _tenant,
  owner: _owner,
  leaseMs: _leaseMs,
  jobState: _jobState,
  jobError: _jobError,
  ...run
}: RunRow): Run => run

export const runActions = ({
  catalog,
}: {
  readonly catalog: Pick<Catalog, 'runs'>
}): ActionsOf<keyof typeof RUN_METHODS> => ({
  'runs.list': {
    turn: 'listing',
    run: async ({ machine, kind, state, after, limit }, { actor, machine: find }) => {
      if (machine !== null) await find(machine)
      const list = `runs.list ${machine ?? ''} ${kind ?? ''} ${state ?? ''}`
      const key = keyBehind(list, after, RUN_KEY)
      const behind = key === null ? null : { dueMs: key[0], id: key[1] }
      const asked = { tenant: actor.tenant?.id ?? null, machine, kind, state, after: behind, limit: limit + 1 }
      const page = pageOf(await catalog.runs.list(asked), limit)
      return { runs: page.rows.map(runView), next: nextOf(list, page, ({ dueMs, id }) => [dueMs, id]) }
    },
  },
})
