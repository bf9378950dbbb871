// What is damaged: the points and offsets that it touches, and what heals it.
import type { DamagedRecord, LostRange } from '../../../../protocol/maintenance.ts'
import { link, zone } from '../../frame/console.ts'
import { to } from '../../frame/route.ts'
import { Ago, Bytes, ErrorNote, Mark } from '../../parts/basics.tsx'
import { bytesText, countText, timeText } from '../../parts/format.ts'
import { useWatched } from '../../parts/hooks.ts'
import { Table, type Column } from '../../parts/table.tsx'
import { damageOf, type Damage } from '../../stores/datastore.ts'
import { datastore as texts } from '../../texts/datastore.ts'

const DAMAGE = damageOf(link)

const { columns, recordColumns } = texts.damage

const LOST_COLUMNS: readonly Column<LostRange>[] = [
  {
    name: 'machine',
    title: columns.machine,
    cell: ({ machine }) => <a href={to('machine', [machine])}>{machine}</a>,
  },
  {
    name: 'point',
    title: columns.point,
    cell: ({ machine, point, timeMs }) => (
      <a href={to('machine', [machine], { point })}>{timeText(timeMs, zone.value)}</a>
    ),
  },
  { name: 'disk', title: columns.disk, cell: ({ disk }) => disk },
  { name: 'offset', title: columns.offset, isNumber: true, cell: ({ offset }) => <Bytes bytes={offset} /> },
  { name: 'length', title: columns.length, isNumber: true, cell: ({ length }) => <Bytes bytes={length} /> },
]

const RECORD_COLUMNS: readonly Column<DamagedRecord>[] = [
  { name: 'type', title: recordColumns.type, cell: ({ type }) => texts.damage.types[type] },
  {
    name: 'reason',
    title: recordColumns.reason,
    cell: ({ reason }) => (
      <span class="cut" title={reason}>
        {reason}
      </span>
    ),
  },
  {
    name: 'pack',
    title: recordColumns.pack,
    isExtra: true,
    cell: ({ pack, offset }) =>
      pack === null ? (
        texts.damage.noPlace
      ) : (
        <code>{`${pack.slice(0, 8)} ${offset === null ? '' : countText(offset)}`}</code>
      ),
  },
  { name: 'found', title: recordColumns.found, cell: ({ foundMs }) => <Ago timeMs={foundMs} /> },
]

const Found = ({ damage }: { damage: Damage }) => {
  const { records, areMore, lost, lostCount, lostBytes } = damage
  const count = `${countText(records.length)}${areMore ? '+' : ''}`
  return (
    <>
      <div class="note bad">
        <Mark tone="bad">
          {lostCount === 0
            ? texts.damage.noRanges(count)
            : texts.damage.found(count, countText(lostCount), bytesText(lostBytes))}
        </Mark>
      </div>
      <p>
        {texts.damage.heals} {lostCount === 0 ? null : texts.damage.backUp}
      </p>
      {lost.length === 0 ? null : (
        <Table
          caption={texts.damage.lost}
          rows={lost}
          columns={LOST_COLUMNS}
          keyOf={({ point, disk, offset }) => `${point} ${disk} ${offset}`}
        />
      )}
      {lostCount > lost.length ? (
        <p class="quiet">{texts.damage.more(countText(lost.length), countText(lostCount))}</p>
      ) : null}
      <details>
        <summary>{texts.damage.records}</summary>
        <Table caption={texts.damage.records} rows={records} columns={RECORD_COLUMNS} keyOf={({ id }) => id} />
        {areMore ? <p class="quiet">{texts.damage.moreRecords}</p> : null}
      </details>
    </>
  )
}

export const Damaged = () => {
  const damage = useWatched(DAMAGE)
  const found = damage.value.value
  const error = damage.error.value
  return (
    <section class="panel" aria-labelledby="damage-title">
      <h2 id="damage-title">{texts.damage.title}</h2>
      {error === null ? null : <ErrorNote error={error} onRetry={() => void damage.refresh()} />}
      {found === null ? null : found.records.length === 0 && found.lostCount === 0 ? (
        <p>
          <Mark tone="good">{texts.damage.none}</Mark>
        </p>
      ) : (
        <Found damage={found} />
      )}
    </section>
  )
}
