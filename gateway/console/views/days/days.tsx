// The view Days: machines and days as a matrix, each day with its worst outcome.
import { MACHINE_STATES } from '../../../../protocol/coverage.ts'
import { COVERAGE_DAYS_MAX } from '../../../../protocol/coverage-days.ts'
import { link, zone } from '../../frame/console.ts'
import { to } from '../../frame/route.ts'
import { filter, route } from '../../frame/router.ts'
import { AsOf, Button, Empty, ErrorNote, Field, Loading, Search, Select } from '../../parts/basics.tsx'
import { useMade, useWatched } from '../../parts/hooks.ts'
import { DAY_KINDS, DAY_MARKS, dayBehind, dayRow, isDay } from '../../pictures/days.ts'
import { isStateFilter, namePartOf } from '../../stores/coverage.ts'
import { Calendar, type DaysWanted } from '../../stores/days.ts'
import { days as texts } from '../../texts/days.ts'
import { protection } from '../../texts/protection.ts'
import { DayPanel } from './day-panel.tsx'
import { Matrix } from './matrix.tsx'

const DAYS_DEFAULT = 31

const wantedOf = (query: Readonly<Record<string, string>>): DaysWanted => {
  const days = Number(query['days'])
  return {
    days: Number.isInteger(days) && days >= 1 && days <= COVERAGE_DAYS_MAX ? days : DAYS_DEFAULT,
    untilDay: isDay(query['until']) ? query['until'] : null,
    zone: zone.value,
    state: isStateFilter(query['state']) ? query['state'] : null,
    part: namePartOf(query['q'] ?? ''),
    order: query['order'] === 'name' ? 'name' : 'worst',
  }
}

const choicesOf = (texts: Readonly<Record<string, string>>) =>
  Object.entries(texts).map(([value, text]) => ({ value, text }))

const STATE_CHOICES = [
  { value: '', text: texts.states },
  { value: 'unprotected', text: protection.unprotected },
  ...MACHINE_STATES.map((state) => ({ value: state, text: protection.states[state] })),
]

const Filters = ({ wanted }: { wanted: DaysWanted }) => (
  <div class="toolbar">
    <Search label={texts.search} value={wanted.part} onInput={(text) => filter({ q: namePartOf(text) })} />
    <Select
      label={texts.state}
      value={wanted.state ?? ''}
      choices={STATE_CHOICES}
      onChoose={(state) => filter({ state })}
    />
    <Select
      label={texts.order}
      value={wanted.order}
      choices={choicesOf(texts.orders)}
      onChoose={(value) => filter({ order: value === 'worst' ? null : value })}
    />
    <Select
      label={texts.span}
      value={String(wanted.days)}
      choices={choicesOf(
        wanted.days in texts.spans ? texts.spans : { ...texts.spans, [wanted.days]: String(wanted.days) },
      )}
      onChoose={(value) => filter({ days: value === String(DAYS_DEFAULT) ? null : value })}
    />
    <Field
      label={texts.until}
      type="date"
      value={wanted.untilDay ?? ''}
      onInput={(event) => filter({ until: event.currentTarget.value })}
    />
  </div>
)

const Legend = () => (
  <ul class="legend" aria-label={texts.legend}>
    {DAY_KINDS.map((kind) => (
      <li key={kind} class={`mark ${DAY_MARKS[kind].tone}`}>
        <svg viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">
          <path d={DAY_MARKS[kind].path} />
        </svg>
        {texts.kinds[kind]}
      </li>
    ))}
  </ul>
)

const close = (): void => filter({ machine: null, day: null })

/** The day that somebody has opened, as the address has it. */
const Opened = ({ calendar, wanted }: { calendar: Calendar; wanted: DaysWanted }) => {
  const { machine, day } = route.value.query
  const span = calendar.span.value
  if (machine === undefined || !isDay(day) || span === null) return null
  const index = Array.from({ length: wanted.days }, (_, each) => dayBehind(span.firstDay, each)).indexOf(day)
  const [fromMs, untilMs] = [span.bounds[index], span.bounds[index + 1]]
  if (fromMs === undefined || untilMs === undefined) return null
  const row = calendar.rows.rows.value?.find((one) => one.machine === machine)
  const cell = row === undefined ? undefined : (dayRow(row.cells, wanted.days)[index] ?? null)
  return <DayPanel machine={machine} day={day} cell={cell} fromMs={fromMs} untilMs={untilMs} onClose={close} />
}

const Machines = ({ wanted }: { wanted: DaysWanted }) => {
  const key = JSON.stringify(wanted)
  const calendar = useMade(() => new Calendar(link, wanted), key)
  const pages = useWatched(calendar.rows)
  const rows = pages.rows.value
  const span = calendar.span.value
  const error = pages.error.value
  if (rows === null)
    return error === null ? <Loading /> : <ErrorNote error={error} onRetry={() => void pages.refresh()} />
  if (rows.length === 0 || span === null) {
    const isNarrowed = wanted.part !== '' || wanted.state !== null
    return (
      <Empty title={isNarrowed ? texts.empty : texts.noMachine}>
        {isNarrowed ? (
          <Button onClick={() => filter({ state: null, q: null })}>{texts.showAll}</Button>
        ) : (
          <a href={to('protection')}>{texts.toProtection}</a>
        )}
      </Empty>
    )
  }
  return (
    <>
      <AsOf asOfMs={pages.asOfMs.value} error={error} />
      <Matrix
        key={key}
        rows={rows}
        firstDay={span.firstDay}
        count={span.bounds.length - 1}
        onNearEnd={() => void pages.more()}
        onOpen={(machine, day) => filter({ machine, day })}
      />
      <Opened calendar={calendar} wanted={wanted} />
    </>
  )
}

export const Days = () => {
  const wanted = wantedOf(route.value.query)
  return (
    <div class="days fills">
      <h1 class="hidden">{texts.title}</h1>
      <Filters wanted={wanted} />
      <Legend />
      <Machines wanted={wanted} />
      <p class="quiet zone">{texts.zone(wanted.zone)}</p>
    </div>
  )
}
