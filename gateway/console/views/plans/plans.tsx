// The view Plans: what is wanted for machines, when that starts them in the next days, and what a change of it would do.
import { useSignal } from '@preact/signals'
import { useEffect } from 'preact/hooks'
import type { Plan } from '../../../../protocol/plans.ts'
import { link } from '../../frame/console.ts'
import { filter, route } from '../../frame/router.ts'
import { AsOf, Button, Empty, ErrorNote, Loading, Mark } from '../../parts/basics.tsx'
import { countText, HOUR_MS } from '../../parts/format.ts'
import { useWatched } from '../../parts/hooks.ts'
import { Table, type Column } from '../../parts/table.tsx'
import { lanesOf, plansOf } from '../../stores/plans.ts'
import { plans as texts } from '../../texts/plans.ts'
import { Editor } from './editor.tsx'
import { Lanes } from './lanes.tsx'

const PLANS = plansOf(link)
const LANES = lanesOf(link)

/** Of the query: the plan that is opened. A plan's name cannot begin so. */
const FRESH = '+'

const { list } = texts

const whenOf = ({ enabled, schedule, rpoMs }: Plan): string => {
  if (!enabled) return list.disabled
  if (schedule !== null) return schedule
  return rpoMs === null ? list.nothing : list.byTarget
}

const keepsOf = ({ keep }: Plan): string => {
  const rules = Object.entries(keep).filter(([, count]) => count > 0)
  const names: Readonly<Record<string, string>> = texts.edit.keep
  return rules.length === 0 ? list.all : rules.map(([rule, count]) => `${names[rule]} ${count}`).join(', ')
}

const columnsOf = (machines: ReadonlyMap<string, number>): Column<Plan>[] => [
  {
    name: 'plan',
    title: list.columns.plan,
    cell: ({ name }) => (
      <button type="button" class="link" onClick={() => filter({ plan: name })}>
        {name}
      </button>
    ),
  },
  {
    name: 'when',
    title: list.columns.when,
    cell: (plan) => (plan.enabled ? whenOf(plan) : <Mark tone="quiet">{whenOf(plan)}</Mark>),
  },
  {
    name: 'target',
    title: list.columns.target,
    isExtra: true,
    cell: ({ rpoMs }) => (rpoMs === null ? null : list.target(String(Math.round((rpoMs / HOUR_MS) * 100) / 100))),
  },
  { name: 'keeps', title: list.columns.keeps, isExtra: true, cell: keepsOf },
  {
    name: 'machines',
    title: list.columns.machines,
    isNumber: true,
    cell: ({ name }) => countText(machines.get(name) ?? 0),
  },
]

export const Plans = () => {
  const plans = useWatched(PLANS)
  const lanes = useWatched(LANES)
  const name = route.value.query['plan']
  /** The one that was new when it was saved, while it is open. */
  const made = useSignal<string | null>(null)
  useEffect(() => {
    if (made.value !== name) made.value = null
  }, [name])
  const found = plans.value.value
  const told = lanes.value.value
  const error = plans.error.value ?? lanes.error.value
  const changed = (): void => void Promise.all([plans.refresh(), lanes.refresh()])
  if (found === null || told === null)
    return error === null ? <Loading rows={10} /> : <ErrorNote error={error} onRetry={changed} />
  const mayEdit = link.may('plans.apply')
  const chosen = found.find((plan) => plan.name === name) ?? null
  const isFresh = name === FRESH && mayEdit
  const add = mayEdit ? (
    <Button kind={found.length === 0 ? 'main' : 'plain'} onClick={() => filter({ plan: FRESH })}>
      {texts.add}
    </Button>
  ) : null
  return (
    <div class="plans">
      <h1>{texts.title}</h1>
      <AsOf asOfMs={plans.asOfMs.value} error={error} />
      {name === undefined ? null : chosen === null && !isFresh ? (
        <p class="note warn" role="alert">
          <Mark tone="warn">{texts.edit.gone}</Mark>{' '}
          <Button onClick={() => filter({ plan: null })}>{texts.edit.close}</Button>
        </p>
      ) : (
        <Editor
          key={name}
          plan={chosen}
          mayEdit={mayEdit}
          onClose={() => filter({ plan: null })}
          isMade={made.value === name}
          onRemoved={() => {
            filter({ plan: null })
            changed()
          }}
          onSaved={async (saved) => {
            void lanes.refresh()
            // what the address names has to be there first
            await plans.refresh()
            if (saved === name || route.value.query['plan'] !== name) return
            made.value = saved
            filter({ plan: saved })
          }}
        />
      )}
      {found.length === 0 ? (
        <Empty title={texts.empty.title}>
          <p>{texts.empty.says}</p>
          {add}
        </Empty>
      ) : (
        <>
          <Lanes lanes={told} />
          <section class="panel" aria-labelledby="list-title">
            <h2 id="list-title">{list.title}</h2>
            <Table
              caption={list.caption}
              rows={found}
              columns={columnsOf(new Map(told.plans.map((plan) => [plan.plan, plan.machines])))}
              keyOf={(plan) => plan.name}
            />
            <p>{add}</p>
          </section>
        </>
      )}
    </div>
  )
}
