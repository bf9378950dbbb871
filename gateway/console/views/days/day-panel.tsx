// One day of a machine: what was, in words, and its restore points.
import { useEffect, useRef } from 'preact/hooks'
import type { DayCell } from '../../../../protocol/coverage-days.ts'
import { link } from '../../frame/console.ts'
import { to } from '../../frame/route.ts'
import { Ago, Bytes, Button, ErrorNote, Loading, Mark, Time } from '../../parts/basics.tsx'
import { countText, durationText } from '../../parts/format.ts'
import { useMade, useWatched } from '../../parts/hooks.ts'
import { LOOKED_MAX, pointsBetween } from '../../stores/days.ts'
import { days as texts } from '../../texts/days.ts'
import { points as pointTexts } from '../../texts/points.ts'
import { cellText, DayMark } from './matrix.tsx'

interface PanelProps {
  readonly machine: string
  readonly day: string
  /** Null for a day on which nothing was; absent where the row is not loaded. */
  readonly cell: DayCell | null | undefined
  readonly fromMs: number
  readonly untilMs: number
  readonly onClose: () => void
}

/** The restore points of the day. */
const Points = ({ machine, fromMs, untilMs }: Pick<PanelProps, 'machine' | 'fromMs' | 'untilMs'>) => {
  const key = `${machine} ${fromMs} ${untilMs}`
  const points = useWatched(useMade(() => pointsBetween(link, machine, fromMs, untilMs), key))
  const found = points.value.value
  const error = points.error.value
  const { pointColumns } = texts
  return found === null ? (
    error === null ? (
      <Loading rows={2} />
    ) : (
      <ErrorNote error={error} onRetry={() => void points.refresh()} />
    )
  ) : found.points.length === 0 ? (
    <p class="quiet">{found.isCut ? texts.cut(countText(LOOKED_MAX)) : texts.noPoints}</p>
  ) : (
    <div class="points">
      {found.isCut ? (
        <p>
          <Mark tone="warn">{texts.cut(countText(LOOKED_MAX))}</Mark>
        </p>
      ) : null}
      <table>
        <thead>
          <tr>
            {Object.entries(pointColumns).map(([name, title]) => (
              <th key={name} scope="col">
                {title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {found.points.map(({ id, timeMs, kind, reason, bytesRead, durationMs, verifiedMs }) => (
            <tr key={id}>
              <td>
                <a href={to('machine', [machine], { point: id })}>
                  <Time timeMs={timeMs} />
                </a>
              </td>
              <td>{pointTexts.kinds[kind]}</td>
              <td>{pointTexts.reasons[reason]}</td>
              <td>
                <Bytes bytes={bytesRead} />
              </td>
              <td>{durationText(durationMs)}</td>
              <td>{verifiedMs === null ? texts.notVerified : <Ago timeMs={verifiedMs} />}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  )
}

export const DayPanel = ({ machine, day, cell, fromMs, untilMs, onClose }: PanelProps) => {
  const section = useRef<HTMLElement>(null)
  // on a narrow page it is below what is in sight
  useEffect(() => section.current?.scrollIntoView({ block: 'nearest' }), [machine, day])
  return (
    <section ref={section} class="panel day" aria-label={texts.panel(machine, day)}>
      <div class="toolbar">
        <h2>{texts.panel(machine, day)}</h2>
        <a href={to('machine', [machine])}>{texts.allPoints}</a>
        <Button onClick={onClose}>{texts.close}</Button>
      </div>
      {cell === undefined ? null : (
        <p class="what">
          <DayMark cell={cell} /> {cellText(cell)}
        </p>
      )}
      {link.may('points.list') ? <Points machine={machine} fromMs={fromMs} untilMs={untilMs} /> : null}
    </section>
  )
}
