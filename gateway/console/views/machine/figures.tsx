// The figures of a machine's restore points as a table.
import type { Point } from '../../../../protocol/schemas.ts'
import { zone } from '../../frame/console.ts'
import { formatRoute, withQuery } from '../../frame/route.ts'
import { route } from '../../frame/router.ts'
import type { Pages } from '../../net/pages.ts'
import { Bytes } from '../../parts/basics.tsx'
import { durationText, timeText } from '../../parts/format.ts'
import { Table, type Column } from '../../parts/table.tsx'
import { machine as texts } from '../../texts/machine.ts'
import { points as words } from '../../texts/points.ts'
import { frozenText, scratchText } from './took.ts'
import type { Usages } from './usages.ts'

const { columns } = texts.figures

const columnsOf = (usages: Usages): Column<Point>[] => [
  {
    name: 'time',
    title: columns.time,
    cell: ({ id, timeMs }) => (
      <a href={formatRoute(withQuery(route.value, { point: id }))}>{timeText(timeMs, zone.value)}</a>
    ),
  },
  {
    name: 'kind',
    title: columns.kind,
    isExtra: true,
    cell: ({ kind, reason }) => (kind === 'full' ? `${words.kinds.full}: ${words.reasons[reason]}` : words.kinds[kind]),
  },
  { name: 'read', title: columns.read, isNumber: true, isExtra: true, cell: (row) => <Bytes bytes={row.bytesRead} /> },
  { name: 'sent', title: columns.sent, isNumber: true, cell: (row) => <Bytes bytes={row.bytesSent} /> },
  { name: 'stored', title: columns.stored, isNumber: true, cell: (row) => <Bytes bytes={row.bytesStored} /> },
  {
    name: 'duration',
    title: columns.duration,
    isNumber: true,
    cell: ({ durationMs }) => durationText(durationMs),
  },
  { name: 'frozen', title: columns.frozen, isNumber: true, isExtra: true, cell: ({ took }) => frozenText(took) },
  {
    name: 'scratch',
    title: columns.scratch,
    isNumber: true,
    isExtra: true,
    cell: ({ took }) => scratchText(took),
  },
  ...(usages.asked.value.kind === 'known'
    ? [
        {
          name: 'frees',
          title: columns.frees,
          isNumber: true,
          cell: ({ id }: Point) => <Bytes bytes={usages.freedBy(id)} />,
        },
      ]
    : []),
]

export const Figures = ({ points, usages }: { points: Pages<Point>; usages: Usages }) => (
  <section class="figures">
    <h2>{texts.figures.title}</h2>
    <Table
      caption={texts.figures.title}
      rows={points.rows.value ?? []}
      columns={columnsOf(usages)}
      keyOf={({ id }) => id}
    />
  </section>
)
