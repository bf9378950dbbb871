// The view Protection: whether every machine is protected, and why not where it is not.
import { MACHINE_STATES, type Covered, type MachineState, type StateCounts } from '../../../../protocol/coverage.ts'
import { link } from '../../frame/console.ts'
import { to } from '../../frame/route.ts'
import { filter, route } from '../../frame/router.ts'
import { Ago, AsOf, Button, Empty, ErrorNote, Loading, Mark } from '../../parts/basics.tsx'
import { Copy } from '../../parts/copy.tsx'
import { countText } from '../../parts/format.ts'
import { useMade, useWatched } from '../../parts/hooks.ts'
import { Table, type Column } from '../../parts/table.tsx'
import { countsOf, machinesOf } from '../../stores/coverage.ts'
import { protection as texts } from '../../texts/protection.ts'
import { TONES } from './tones.ts'

const isState = (text: string | undefined): text is MachineState =>
  (MACHINE_STATES as readonly (string | undefined)[]).includes(text)

const COLUMNS: readonly Column<Covered>[] = [
  {
    name: 'machine',
    title: texts.columns.machine,
    cell: ({ machine }) => <a href={to('machine', [machine])}>{machine}</a>,
  },
  {
    name: 'state',
    title: texts.columns.state,
    cell: ({ state, reason }) => (
      <>
        <Mark tone={TONES[state]}>{texts.states[state]}</Mark>
        <span class="reason" title={reason}>
          {reason}
        </span>
      </>
    ),
  },
  { name: 'last', title: texts.columns.last, cell: ({ lastPointMs }) => <Ago timeMs={lastPointMs} /> },
  {
    name: 'next',
    title: texts.columns.next,
    isExtra: true,
    cell: ({ nextMs }) => (nextMs === null ? null : <Ago timeMs={nextMs} />),
  },
  { name: 'plan', title: texts.columns.plan, isExtra: true, cell: ({ plan }) => plan },
  { name: 'host', title: texts.columns.host, isExtra: true, cell: ({ host }) => host },
]

const Tiles = ({ counts, chosen }: { counts: StateCounts; chosen: MachineState | null }) => {
  const shown = MACHINE_STATES.filter((state) => counts[state] > 0 || state === 'fresh' || state === chosen)
  const all = MACHINE_STATES.reduce((sum, state) => sum + counts[state], 0)
  return (
    <div class="tiles">
      <button class="tile" type="button" aria-pressed={chosen === null} onClick={() => filter({ state: null })}>
        <strong>{countText(all)}</strong>
        {texts.all}
      </button>
      {shown.map((state) => (
        <button
          key={state}
          class="tile"
          type="button"
          aria-pressed={chosen === state}
          onClick={() => filter({ state: chosen === state ? null : state })}
        >
          <strong>{countText(counts[state])}</strong>
          <Mark tone={TONES[state]}>{texts.states[state]}</Mark>
        </button>
      ))}
    </div>
  )
}

const Machines = ({ state, count }: { state: MachineState | null; count: number }) => {
  const machines = useWatched(useMade(() => machinesOf(link, state === null ? null : [state]), state ?? ''))
  const rows = machines.rows.value
  const error = machines.error.value
  if (rows === null)
    return error === null ? <Loading /> : <ErrorNote error={error} onRetry={() => void machines.refresh()} />
  return (
    <>
      <AsOf asOfMs={machines.asOfMs.value} error={error} />
      {rows.length === 0 ? (
        <Empty title={texts.noMatch}>
          <Button onClick={() => filter({ state: null })}>{texts.showAll}</Button>
        </Empty>
      ) : (
        <Table
          caption={texts.caption}
          rows={rows}
          count={count}
          columns={COLUMNS}
          keyOf={({ machine }) => machine}
          onNearEnd={() => void machines.more()}
        />
      )}
    </>
  )
}

const COUNTS = countsOf(link)

export const Protection = () => {
  const counts = useWatched(COUNTS)
  const given = route.value.query['state']
  const state = isState(given) ? given : null
  const found = counts.value.value
  const error = counts.error.value
  if (found === null)
    return error === null ? <Loading /> : <ErrorNote error={error} onRetry={() => void counts.refresh()} />
  const all = MACHINE_STATES.reduce((sum, each) => sum + found[each], 0)
  return (
    <div class="protection fills">
      <h1 class="hidden">{texts.title}</h1>
      {all === 0 ? (
        <Empty title={texts.empty.title}>
          <p>{texts.empty.first}</p>
          <Copy text={texts.empty.command} label={texts.empty.first} />
        </Empty>
      ) : (
        <>
          <Tiles counts={found} chosen={state} />
          <Machines state={state} count={state === null ? all : found[state]} />
        </>
      )}
    </div>
  )
}
