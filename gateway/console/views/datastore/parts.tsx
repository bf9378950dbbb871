// What the packs are made of: a treemap that adds up, and the same as a table.
import { useEffect } from 'preact/hooks'
import type { UsageReport } from '../../../../protocol/maintenance.ts'
import { link } from '../../frame/console.ts'
import { to } from '../../frame/route.ts'
import { go } from '../../frame/router.ts'
import { Ago, Bytes, Button, ErrorNote, Mark } from '../../parts/basics.tsx'
import { bytesText, countText, percentText } from '../../parts/format.ts'
import { Table, type Column } from '../../parts/table.tsx'
import { bytesOf, groupsOf } from '../../pictures/treemap.ts'
import { AT_ONCE_BYTES } from '../../stores/datastore.ts'
import type { Work } from '../../stores/work.ts'
import { datastore as texts } from '../../texts/datastore.ts'
import { Legend, TreemapPicture } from './treemap.tsx'
import { WorkProgress } from './work.tsx'

/** A line of the table: a machine, or what belongs to none alone. */
interface Line {
  readonly name: string
  readonly isMachine: boolean
  readonly storedBytes: number
  readonly uniqueBytes: number | null
  readonly sharedBytes: number | null
  readonly points: number | null
}

const rest = (name: string, storedBytes: number): Line => ({
  name,
  isMachine: false,
  storedBytes,
  uniqueBytes: null,
  sharedBytes: null,
  points: null,
})

/** Machines with the largest first, then what belongs to none, then the sum, which is all of the packs. */
const linesOf = ({ rows, parts, packBytes }: UsageReport): Line[] => {
  const machines = rows
    .filter(({ scope }) => scope === 'machine')
    .map(({ machine, storedBytes, uniqueBytes, sharedBytes, points }) => {
      return { name: machine, isMachine: true, storedBytes, uniqueBytes, sharedBytes, points }
    })
    .toSorted((a, b) => b.storedBytes - a.storedBytes)
  const leftBytes = parts.machineBytes - machines.reduce((sum, { storedBytes }) => sum + storedBytes, 0)
  const { kinds } = texts.parts
  const others = [
    rest(kinds.further, leftBytes),
    rest(kinds.shared, parts.sharedBytes),
    rest(kinds.dead, parts.deadBytes),
    rest(kinds.upload, parts.uploadBytes),
    rest(kinds.other, parts.otherBytes),
  ].filter(({ storedBytes }) => storedBytes > 0)
  return [...machines, ...others, rest(texts.parts.sums, packBytes + parts.missingBytes)]
}

const columnsOf = (all: number): Column<Line>[] => [
  {
    name: 'machine',
    title: texts.parts.columns.machine,
    cell: ({ name, isMachine }) => (isMachine ? <a href={to('machine', [name])}>{name}</a> : name),
  },
  {
    name: 'stored',
    title: texts.parts.columns.stored,
    isNumber: true,
    cell: ({ storedBytes }) => <Bytes bytes={storedBytes} />,
  },
  {
    name: 'share',
    title: texts.parts.columns.share,
    isNumber: true,
    cell: ({ storedBytes }) => percentText(storedBytes / all),
  },
  {
    name: 'unique',
    title: texts.parts.columns.unique,
    isNumber: true,
    isExtra: true,
    cell: ({ uniqueBytes }) => <Bytes bytes={uniqueBytes} />,
  },
  {
    name: 'shared',
    title: texts.parts.columns.shared,
    isNumber: true,
    isExtra: true,
    cell: ({ sharedBytes }) => <Bytes bytes={sharedBytes} />,
  },
  {
    name: 'points',
    title: texts.parts.columns.points,
    isNumber: true,
    isExtra: true,
    cell: ({ points }) => (points === null ? '' : countText(points)),
  },
]

const Report = ({ report }: { report: UsageReport }) => {
  const groups = groupsOf(report)
  const all = bytesOf(groups.flatMap(({ parts }) => parts))
  const kinds = [...new Set(groups.flatMap(({ parts }) => parts.map(({ kind }) => kind)))]
  if (all === 0) return <p>{texts.parts.empty}</p>
  const { missingBytes } = report.parts
  return (
    <>
      {missingBytes === 0 ? null : (
        <p class="note bad">
          <Mark tone="bad">{texts.parts.missing(bytesText(missingBytes))}</Mark>
        </p>
      )}
      <TreemapPicture
        groups={groups}
        onChoose={({ kind, name }) => {
          if (kind !== 'tenant' && name !== '') go({ view: 'machine', path: [name], query: {} })
        }}
      />
      <Legend kinds={kinds} />
      <p class="quiet">{texts.parts.sum(bytesText(all))}</p>
      <Table caption={texts.parts.table} rows={linesOf(report)} columns={columnsOf(all)} keyOf={({ name }) => name} />
      <p class="quiet">{texts.parts.columnsSay}</p>
      {report.rowCount > report.rows.length ? <p class="quiet">{texts.parts.left}</p> : null}
    </>
  )
}

interface PartsProps {
  readonly usage: Work<'store.usage'>
  /** Of the packs now. */
  readonly usedBytes: number
}

export const Parts = ({ usage, usedBytes }: PartsProps) => {
  const state = usage.state.value
  const isOpen = link.state.value.kind === 'open'
  useEffect(() => {
    if (isOpen && usage.state.value.kind === 'not asked' && usedBytes < AT_ONCE_BYTES) void usage.ask()
  }, [isOpen])
  return (
    <section class="panel" aria-labelledby="parts-title">
      <h2 id="parts-title">{texts.parts.title}</h2>
      {state.kind === 'not asked' ? (
        <p>
          <Button onClick={() => void usage.ask()}>{texts.parts.ask}</Button>{' '}
          <span class="quiet">{texts.parts.says}</span>
        </p>
      ) : null}
      {state.kind === 'running' ? <WorkProgress progress={state.progress} onStop={() => usage.cancel()} /> : null}
      {state.kind === 'failed' ? <ErrorNote error={state.error} onRetry={() => void usage.ask()} /> : null}
      {state.kind === 'done' ? (
        <>
          <p>
            {texts.parts.asOf} <Ago timeMs={state.asOfMs} />{' '}
            <Button onClick={() => void usage.ask()}>{texts.parts.again}</Button>
          </p>
          <Report report={state.result} />
        </>
      ) : null}
    </section>
  )
}
