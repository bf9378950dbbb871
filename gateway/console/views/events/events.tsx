// The view Events: what happened, newest first, as it happens, narrowed to a kind and a machine.
import { useSignal } from '@preact/signals'
import { EVENT_KINDS, type Event, type EventKind, type Severity } from '../../../../protocol/events.ts'
import { link } from '../../frame/console.ts'
import { to } from '../../frame/route.ts'
import { filter, route } from '../../frame/router.ts'
import { Ago, AsOf, Button, Empty, ErrorNote, Field, Loading, Mark, Select, type Tone } from '../../parts/basics.tsx'
import { useMade, useNarrow, useWatched } from '../../parts/hooks.ts'
import { Table, type Column } from '../../parts/table.tsx'
import { EventFeed } from '../../stores/events.ts'
import { events as texts } from '../../texts/events.ts'

const TONES: Readonly<Record<Severity, Tone>> = { info: 'quiet', warning: 'warn', error: 'bad' }

const isKind = (text: string | undefined): text is EventKind =>
  (EVENT_KINDS as readonly (string | undefined)[]).includes(text)

const CHOICES = [{ value: '', text: texts.allKinds }, ...EVENT_KINDS.map((kind) => ({ value: kind, text: kind }))]

/** Heights of a row in pixels: where nothing can hover, four lines tell most sentences whole. */
const WIDE_ROW = 48
const NARROW_ROW = 100

const COLUMNS: readonly Column<Event>[] = [
  { name: 'when', title: texts.columns.when, cell: ({ timeMs }) => <Ago timeMs={timeMs} /> },
  {
    name: 'what',
    title: texts.columns.what,
    cell: ({ severity, active, text }) => (
      <span class="what" title={text}>
        <Mark tone={active === false ? 'good' : TONES[severity]}>
          <span class="weight">{active === false ? texts.over : texts.severities[severity]}</span>
        </Mark>{' '}
        <bdi>{text}</bdi>
      </span>
    ),
  },
  {
    name: 'machine',
    title: texts.columns.machine,
    isExtra: true,
    cell: ({ machine }) => (machine === null ? null : <a href={to('machine', [machine])}>{machine}</a>),
  },
  { name: 'kind', title: texts.columns.kind, isExtra: true, cell: ({ kind }) => <code>{kind}</code> },
]

const Filters = ({ kind, machine }: { kind: EventKind | null; machine: string | null }) => {
  const written = useSignal(machine ?? '')
  return (
    <form
      class="toolbar"
      onSubmit={(event) => {
        event.preventDefault()
        filter({ machine: written.value })
      }}
    >
      <Select label={texts.kind} value={kind ?? ''} choices={CHOICES} onChoose={(chosen) => filter({ kind: chosen })} />
      <Field
        label={texts.machine}
        placeholder={texts.machineHint}
        value={written.value}
        onInput={(event) => (written.value = event.currentTarget.value)}
      />
      <Button type="submit">{texts.show}</Button>
    </form>
  )
}

const List = ({ kind, machine }: { kind: EventKind | null; machine: string | null }) => {
  const feed = useWatched(useMade(() => new EventFeed(link, { kind, machine }), `${kind ?? ''} ${machine ?? ''}`))
  const { pages } = feed
  const isNarrow = useNarrow()
  const [rows, error] = [pages.rows.value, pages.error.value]
  if (rows === null)
    return error === null ? <Loading /> : <ErrorNote error={error} onRetry={() => void pages.refresh()} />
  if (rows.length === 0 && (kind !== null || machine !== null))
    return (
      <Empty title={texts.noMatch}>
        <Button onClick={() => filter({ kind: null, machine: null })}>{texts.showAll}</Button>
      </Empty>
    )
  if (rows.length === 0)
    return (
      <Empty title={texts.empty}>
        <p>{texts.emptySays}</p>
      </Empty>
    )
  return (
    <>
      <AsOf asOfMs={pages.asOfMs.value} error={error} />
      <Table
        caption={texts.caption}
        rows={rows}
        columns={COLUMNS}
        rowHeight={isNarrow ? NARROW_ROW : WIDE_ROW}
        keyOf={({ seq }) => String(seq)}
        onNearEnd={() => void pages.more()}
      />
    </>
  )
}

export const Events = () => {
  const { kind: given, machine: named } = route.value.query
  const kind = isKind(given) ? given : null
  const machine = named ?? null
  return (
    <div class="events fills">
      <h1 class="hidden">{texts.title}</h1>
      <Filters key={machine ?? ''} kind={kind} machine={machine} />
      <List kind={kind} machine={machine} />
    </div>
  )
}
