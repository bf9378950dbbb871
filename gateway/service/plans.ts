// Plans: their list, what changes of them, and when they run next.
import { VarveError } from '../../protocol/errors.ts'
import { FRAME_BYTES_MAX } from '../../protocol/limits.ts'
import type { Clock } from '../../protocol/peer.ts'
import type { PLAN_METHODS } from '../../protocol/plan-methods.ts'
import type { Plan, PlanDifference } from '../../protocol/plans.ts'
import type { Catalog } from '../catalog/catalog.ts'
import type { Tenant } from '../catalog/tenants.ts'
import type { Teller } from '../events/events.ts'
import { shorter } from '../maintenance/shorter.ts'
import { checkedChanges } from '../plans/differences.ts'
import { unmatched } from '../plans/unmatched.ts'
import { upcoming, whyNone } from '../plans/upcoming.ts'
import type { ActionsOf } from './action.ts'
import { keyBehind, nextOf, pageOf, TEXT_KEY } from './page.ts'
import { timelinePage } from './timeline.ts'

interface Uses {
  readonly catalog: Pick<Catalog, 'machines' | 'plans' | 'retention' | 'runs'>
  readonly events: Pick<Teller, 'tell'>
  readonly clock: Clock
}

type Plans = ActionsOf<keyof typeof PLAN_METHODS>

/** Bytes of the plans of one page; one plan always fits a frame. */
const PAGE_BYTES = FRAME_BYTES_MAX / 4

/** Characters of the entry in the audit log that say what changed. */
const ENTRY_CHARS_MAX = 500

const bytesOf = (plan: Plan): number => JSON.stringify(plan).length

/** The plans that fit one page, at least one. */
const fitting = (plans: readonly Plan[]): readonly Plan[] => {
  let bytes = 0
  const end = plans.findIndex((plan, index) => {
    bytes += bytesOf(plan)
    return index > 0 && bytes > PAGE_BYTES
  })
  return end < 0 ? plans : plans.slice(0, end)
}

const fieldText = ({ field, before, after }: PlanDifference['fields'][number]): string =>
  `${field} ${before ?? '-'} to ${after ?? '-'}`

/** What changed, for the audit log. */
const entryOf = (changes: readonly PlanDifference[]): string => {
  const text = changes
    .map(({ plan, change, fields }) =>
      [`${plan} ${change}`, ...(change === 'changed' ? [fields.map(fieldText).join(', ')] : [])].join(': '),
    )
    .join('; ')
  return text.length > ENTRY_CHARS_MAX ? `${text.slice(0, ENTRY_CHARS_MAX - 3)}...` : text || 'nothing'
}

/** Tells of plans that changed, if any has. */
const tellPlans = (
  events: Pick<Teller, 'tell'>,
  tenant: Tenant,
  { subject, changes }: { readonly subject: string; readonly changes: readonly PlanDifference[] },
): void => {
  if (changes.length === 0) return
  const text = `${subject} changed plans: ${entryOf(changes)}`
  events.tell({ kind: 'plan.changed', tenant: tenant.id, text, data: { plans: changes.length } })
}

/** What changes: the plans before and after it. */
interface Planned {
  readonly changes: readonly PlanDifference[]
  readonly before: readonly Plan[]
  readonly after: readonly Plan[]
}

const applying = ({ catalog, events, clock }: Uses): Plans['plans.apply'] => {
  /** Points that go by it, and what the changed plans name that is not there. */
  const warningsOf = async (tenant: Tenant, { changes, before, after }: Planned): Promise<string[]> => {
    if (changes.length === 0) return []
    const touched = new Set(changes.map(({ plan }) => plan))
    const plans = after.filter(({ name }) => touched.has(name))
    const lost = await shorter({ catalog, tenant: tenant.id, before, after, nowMs: clock.now() })
    return [...lost, ...unmatched(plans, await catalog.plans.machines({ tenant: tenant.id }))]
  }
  return {
    turn: 'listing',
    details: ({ dryRun, replace }) => ({ ...(dryRun ? { dryRun } : {}), ...(replace ? { replace } : {}) }),
    run: async ({ dryRun, ...wanted }, { actor, tenant, change }) => {
      const asked = { tenant: tenant.id }
      const before = await catalog.plans.list(asked)
      const planned = checkedChanges(before, wanted)
      if (dryRun) return { changes: planned.changes, warnings: await warningsOf(tenant, { ...planned, before }) }
      const about = { details: { changes: entryOf(planned.changes) } }
      // looked at again in the transaction, as others may have changed them meanwhile
      const changes = await change((entry) => catalog.plans.apply({ ...asked, ...wanted }, entry), about)
      tellPlans(events, tenant, { subject: actor.subject, changes })
      const after = await catalog.plans.list(asked)
      return { changes, warnings: await warningsOf(tenant, { changes, before, after }) }
    },
  }
}

export const planActions = (uses: Uses): Plans => {
  const { catalog, clock } = uses
  return {
    'plans.list': {
      turn: 'listing',
      run: async ({ after, limit }, { tenant }) => {
        const behind = keyBehind('plans.list', after, TEXT_KEY)?.[0] ?? null
        const rows = await catalog.plans.page({ tenant: tenant.id, after: behind, limit: limit + 1 })
        const page = pageOf(rows, fitting(rows.slice(0, limit)).length)
        return { plans: [...page.rows], next: nextOf('plans.list', page, ({ name }) => [name]) }
      },
    },

    'plans.get': {
      turn: 'listing',
      run: async ({ plan: name }, { tenant }) => ({ plan: await catalog.plans.get({ tenant: tenant.id, name }) }),
    },

    'plans.apply': applying(uses),

    'plans.timeline': {
      turn: 'listing',
      run: (params, { tenant }) => timelinePage({ catalog, tenant: tenant.id, nowMs: clock.now() }, params),
    },

    'plans.next': {
      turn: 'listing',
      run: async ({ plan: name, machine, count }, { tenant, machine: find }) => {
        if ((name === null) === (machine === null))
          throw new VarveError('PARAMS_INVALID', 'name a plan or a machine: one of both')
        const row = machine === null ? null : await find(machine)
        const plan =
          name === null
            ? await catalog.plans.of({ tenant: tenant.id, machine: row!.name })
            : await catalog.plans.get({ tenant: tenant.id, name })
        const nowMs = clock.now()
        const reason = whyNone(plan, row?.exclusion ?? null, nowMs)
        const of = row === null ? null : { tenant: tenant.id, machine: row.name }
        const runs = plan === null || reason !== null ? [] : upcoming({ plan, of, afterMs: nowMs, count })
        return { plan: plan?.name ?? null, runs, reason }
      },
    },
  }
}
