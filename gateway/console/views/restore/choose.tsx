// The first two steps: which machine, and as of when.
import { link, zone } from '../../frame/console.ts'
import { filter, route } from '../../frame/router.ts'
import { Ago, Bytes, Button, ErrorNote, Search, Loading, Mark } from '../../parts/basics.tsx'
import { bytesText, timeText } from '../../parts/format.ts'
import { useMade, useWatched } from '../../parts/hooks.ts'
import { Table } from '../../parts/table.tsx'
import { pointsOf } from '../../stores/points.ts'
import { foundOf } from '../../stores/restores.ts'
import { points as words } from '../../texts/points.ts'
import { restore as texts } from '../../texts/restore.ts'

export const ChooseMachine = () => {
  const text = route.value.query['find'] ?? ''
  const found = useWatched(useMade(() => foundOf(link, text), text))
  const { value, error } = { value: found.value.value, error: found.error.value }
  return (
    <>
      <Search label={texts.search} value={text} onInput={(find) => filter({ find })} />
      {error === null ? null : <ErrorNote error={error} onRetry={() => void found.refresh()} />}
      {value === null ? (
        error === null && <Loading rows={3} />
      ) : (
        <div class="found" role="group" aria-label={texts.steps.machine}>
          {value.machines.map(({ machine }) => (
            <Button key={machine} onClick={() => filter({ machine, find: null })}>
              <bdi>{machine}</bdi>
            </Button>
          ))}
        </div>
      )}
      {value?.machines.length === 0 ? <p role="status">{texts.noneFound}</p> : null}
      {value?.more === true ? <p class="quiet">{texts.moreFound}</p> : null}
    </>
  )
}

export const ChoosePoint = ({ machine }: { machine: string }) => {
  const points = useWatched(useMade(() => pointsOf(link, machine), machine))
  const { rows, error } = { rows: points.rows.value, error: points.error.value }
  if (error !== null && rows === null) return <ErrorNote error={error} onRetry={() => void points.refresh()} />
  if (rows === null) return <Loading rows={4} />
  if (rows.length === 0) return <p>{texts.noPoints}</p>
  return (
    <Table
      caption={texts.points}
      rows={rows}
      keyOf={({ id }) => id}
      onNearEnd={() => void points.more()}
      columns={[
        { name: 'time', title: texts.columns.time, cell: ({ timeMs }) => timeText(timeMs, zone.value) },
        { name: 'age', title: texts.columns.age, cell: ({ timeMs }) => <Ago timeMs={timeMs} />, isExtra: true },
        {
          name: 'how',
          title: texts.columns.consistency,
          isExtra: true,
          cell: ({ consistency, lostBytes }) =>
            lostBytes > 0 ? (
              <Mark tone="bad">{texts.damaged(bytesText(lostBytes))}</Mark>
            ) : (
              words.consistencies[consistency]
            ),
        },
        {
          name: 'size',
          title: texts.columns.size,
          isNumber: true,
          isExtra: true,
          cell: ({ disks }) => <Bytes bytes={disks.reduce((sum, { size }) => sum + size, 0)} />,
        },
        {
          name: 'choose',
          title: texts.columns.choose,
          cell: ({ id, timeMs }) => (
            <Button
              label={texts.chooseLabel(timeText(timeMs, zone.value))}
              onClick={() => filter({ machine, point: id })}
            >
              {texts.choose}
            </Button>
          ),
        },
      ]}
    />
  )
}
