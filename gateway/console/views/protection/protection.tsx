// The view Protection: whether every machine is protected, and why not where it is not.
import { useSignal } from '@preact/signals'
import { useEffect, useRef } from 'preact/hooks'
import type { Covered, StateCounts } from '../../../../protocol/coverage.ts'
import { asVarveError, type VarveError } from '../../../../protocol/errors.ts'
import { link } from '../../frame/console.ts'
import { filter, route } from '../../frame/router.ts'
import { AsOf, Button, Empty, ErrorNote, Loading, Search, Select } from '../../parts/basics.tsx'
import { Copy } from '../../parts/copy.tsx'
import { useMade, useNarrow, useWatched } from '../../parts/hooks.ts'
import { Table, type Column } from '../../parts/table.tsx'
import {
  countOf,
  countsOf,
  isStateFilter,
  machinesOf,
  namePartOf,
  namesOf,
  stillThere,
  tallyOf,
  without,
  type Wanted,
} from '../../stores/coverage.ts'
import { protection as texts } from '../../texts/protection.ts'
import { Actions, mayAct, Outcome } from './actions.tsx'
import { EXCLUDED_COLUMNS, EXPECTED_COLUMNS } from './columns.tsx'
import { Tiles, Verdict } from './tiles.tsx'

/** Heights of a row in pixels; the style sheet's. */
const WIDE_ROW = 72
const NARROW_ROW = 132

const wantedOf = (query: Readonly<Record<string, string>>): Wanted => ({
  state: isStateFilter(query['state']) ? query['state'] : null,
  part: namePartOf(query['q'] ?? ''),
  order: query['order'] === 'name' ? 'name' : 'worst',
})

interface ChoiceProps {
  readonly rows: readonly Covered[]
  readonly chosen: ReadonlySet<string>
  readonly onChange: (chosen: ReadonlySet<string>) => void
}

/** The column in which rows are chosen. */
const choiceColumn = ({ rows, chosen, onChange }: ChoiceProps): Column<Covered> => ({
  name: 'choice',
  title: (
    <label class="choice-all">
      <input
        type="checkbox"
        aria-label={texts.chooseAll}
        checked={rows.length > 0 && rows.every(({ machine }) => chosen.has(machine))}
        onChange={(event) =>
          onChange(event.currentTarget.checked ? new Set(rows.map(({ machine }) => machine)) : new Set())
        }
      />
      <span aria-hidden="true">{texts.chooseAll}</span>
    </label>
  ),
  cell: ({ machine }) => (
    <label class="choice">
      <input
        type="checkbox"
        aria-label={texts.choose(machine)}
        checked={chosen.has(machine)}
        onChange={(event) => {
          const next = new Set(chosen)
          if (event.currentTarget.checked) next.add(machine)
          else next.delete(machine)
          onChange(next)
        }}
      />
    </label>
  ),
})

const Machines = ({ wanted, counts, onDone }: { wanted: Wanted; counts: StateCounts; onDone: () => void }) => {
  const key = JSON.stringify(wanted)
  const machines = useWatched(useMade(() => machinesOf(link, wanted), key))
  const chosen = useSignal<ReadonlySet<string>>(new Set())
  const problem = useSignal<VarveError | null>(null)
  /** Goes up with each choice: names that were asked for before it come too late. */
  const choices = useRef(0)
  const isNarrow = useNarrow()
  const set = (next: ReadonlySet<string>): void => {
    choices.current += 1
    problem.value = null
    chosen.value = next
  }
  const rows = machines.rows.value
  const isWhole = machines.next.value === null
  // who looks at others chooses anew, so that nothing out of sight is acted on
  useEffect(() => set(new Set()), [key])
  useEffect(() => {
    if (rows !== null && isWhole) chosen.value = stillThere(chosen.value, rows)
  }, [rows, isWhole])
  const error = machines.error.value
  if (rows === null)
    return error === null ? <Loading /> : <ErrorNote error={error} onRetry={() => void machines.refresh()} />
  const count = isWhole ? rows.length : countOf(counts, wanted)
  const columns = wanted.state === 'excluded' ? EXCLUDED_COLUMNS : EXPECTED_COLUMNS
  const choice = mayAct() ? [choiceColumn({ rows, chosen: chosen.value, onChange: set })] : []
  const chooseAll = async (): Promise<void> => {
    const own = (choices.current += 1)
    problem.value = null
    try {
      const names = await namesOf(link, wanted)
      if (own === choices.current) set(new Set(names))
    } catch (thrown) {
      if (own === choices.current) problem.value = asVarveError(thrown)
    }
  }
  const done = (worked: readonly string[]): void => {
    chosen.value = without(chosen.value, worked)
    void machines.refresh()
    onDone()
  }
  return (
    <>
      <AsOf asOfMs={machines.asOfMs.value} error={error} />
      <Actions
        chosen={[...chosen.value]}
        count={count}
        onChooseAll={() => void chooseAll()}
        onClear={() => set(new Set())}
        onDone={done}
      />
      {problem.value === null ? null : <ErrorNote error={problem.value} onRetry={() => void chooseAll()} />}
      {rows.length === 0 ? (
        <Empty title={texts.noMatch}>
          <Button onClick={() => filter({ state: null, q: null })}>{texts.showAll}</Button>
        </Empty>
      ) : (
        <Table
          key={key}
          caption={texts.caption}
          rows={rows}
          {...(count === null ? {} : { count })}
          columns={[...choice, ...columns]}
          keyOf={({ machine }) => machine}
          rowHeight={isNarrow ? NARROW_ROW : WIDE_ROW}
          onNearEnd={() => void machines.more()}
        />
      )}
    </>
  )
}

const Filters = ({ wanted }: { wanted: Wanted }) => (
  <div class="toolbar">
    <Search label={texts.search} value={wanted.part} onInput={(text) => filter({ q: namePartOf(text) })} />
    <Select
      label={texts.order}
      value={wanted.order}
      choices={Object.entries(texts.orders).map(([value, text]) => ({ value, text }))}
      onChoose={(value) => filter({ order: value === 'worst' ? null : value })}
    />
  </div>
)

const FirstSteps = () => {
  const { empty } = texts
  const tenant = link.person.value?.tenant ?? ''
  const gateway = new URL('.', location.href.replace(/#.*$/su, ''))
  gateway.protocol = gateway.protocol === 'https:' ? 'wss:' : 'ws:'
  return (
    <Empty title={empty.title}>
      <p>{empty.first}</p>
      <Copy text={empty.command(tenant)} label={empty.first} />
      <p>{empty.second}</p>
      <Copy text={empty.commands(gateway.href.replace(/\/$/u, ''))} label={empty.second} />
      <p>{empty.third}</p>
    </Empty>
  )
}

const COUNTS = countsOf(link)

export const Protection = () => {
  const counts = useWatched(COUNTS)
  const wanted = wantedOf(route.value.query)
  const found = counts.value.value
  const error = counts.error.value
  if (found === null)
    return error === null ? <Loading /> : <ErrorNote error={error} onRetry={() => void counts.refresh()} />
  return (
    <div class="protection fills">
      <h1 class="hidden">{texts.title}</h1>
      {tallyOf(found).all === 0 ? (
        <FirstSteps />
      ) : (
        <>
          <Verdict counts={found} />
          <Tiles counts={found} chosen={wanted.state} />
          <Filters wanted={wanted} />
          <Outcome />
          <Machines wanted={wanted} counts={found} onDone={() => void counts.refresh()} />
        </>
      )}
    </div>
  )
}
