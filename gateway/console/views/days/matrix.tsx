// The matrix of machines and days: a table of which only the rows in sight are drawn, with one place for the keyboard.
import { useSignal, type Signal } from '@preact/signals'
import { memo } from 'preact/compat'
import { useEffect, useRef } from 'preact/hooks'
import type { DayCell, MachineDays } from '../../../../protocol/coverage-days.ts'
import { to } from '../../frame/route.ts'
import { Mark } from '../../parts/basics.tsx'
import { windowOf } from '../../parts/window.ts'
import { cellBehind, DAY_MARKS, dayBehind, dayKind, dayRow } from '../../pictures/days.ts'
import { days as texts } from '../../texts/days.ts'
import { points as pointTexts } from '../../texts/points.ts'
import { protection } from '../../texts/protection.ts'
import { TONES } from '../protection/tones.ts'

/** Height of a row in pixels; the style sheet's. */
const ROW_HEIGHT = 34

/** How near the end the next page is asked for, in rows. */
const NEAR_ROWS = 30

export interface Place {
  readonly row: number
  readonly day: number
}

/** What was on a day, in words. */
export const cellText = (cell: DayCell | null): string => {
  const kind = texts.kinds[dayKind(cell)]
  if (cell === null) return kind
  const { points, failed, skipped, skipReason, fullReason, damaged, verified } = cell
  const parts = [
    points > 0 ? texts.points(points) : null,
    fullReason === null ? null : texts.full(pointTexts.reasons[fullReason]),
    failed > 0 ? texts.failed(failed) : null,
    skipped > 0 ? texts.skipped(skipped, skipReason) : null,
    damaged > 0 ? texts.damaged(damaged) : null,
    verified > 0 ? texts.verified(verified) : null,
  ]
  return `${kind}: ${parts.filter((part) => part !== null).join(', ')}`
}

export const DayMark = ({ cell }: { cell: DayCell | null }) => {
  const { tone, path } = DAY_MARKS[dayKind(cell)]
  return (
    <svg class={`mark ${tone}`} viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">
      <path d={path} />
    </svg>
  )
}

interface RowProps {
  readonly one: MachineDays
  readonly index: number
  readonly count: number
  readonly firstDay: string
  /** The day at which the keyboard is, where it is in this row. */
  readonly at: number | null
  readonly onOpen: (machine: string, day: string) => void
}

const Row = memo(({ one: { machine, state, cells }, index, count, firstDay, at, onOpen }: RowProps) => {
  const said = protection.states[state]
  return (
    <tr aria-rowindex={index + 2} style={{ height: `${ROW_HEIGHT}px` }}>
      <th scope="row">
        <a class="machine" href={to('machine', [machine])} title={`${machine}: ${said}`}>
          <Mark tone={TONES[state]}>
            <span class="name">{machine}</span>
            <span class="hidden">{said}</span>
          </Mark>
        </a>
      </th>
      {dayRow(cells, count).map((cell, day) => {
        const name = dayBehind(firstDay, day)
        const text = cellText(cell)
        return (
          <td key={day} class={DAY_MARKS[dayKind(cell)].tone}>
            <button
              type="button"
              data-row={index}
              data-day={day}
              tabIndex={at === day ? 0 : -1}
              aria-label={`${machine}, ${name}: ${text}`}
              title={`${name}: ${text}`}
              onClick={() => onOpen(machine, name)}
            >
              <DayMark cell={cell} />
            </button>
          </td>
        )
      })}
    </tr>
  )
})

const Head = ({ firstDay, count }: { firstDay: string; count: number }) => (
  <thead>
    <tr aria-rowindex={1}>
      <th scope="col">{texts.machine}</th>
      {Array.from({ length: count }, (_, day) => {
        const name = dayBehind(firstDay, day)
        const instant = new Date(`${name}T12:00:00Z`)
        const weekday = instant.toLocaleDateString('en', { weekday: 'narrow', timeZone: 'UTC' })
        const month = instant.toLocaleDateString('en', { month: 'short', timeZone: 'UTC' })
        const isWeekend = [0, 6].includes(instant.getUTCDay())
        return (
          <th key={name} scope="col" class={isWeekend ? 'weekend' : ''} title={name} aria-label={name}>
            <span>{day === 0 || name.endsWith('-01') ? month : weekday}</span>
            <span>{Number(name.slice(8))}</span>
          </th>
        )
      })}
    </tr>
  </thead>
)

interface MatrixProps {
  readonly rows: readonly MachineDays[]
  readonly firstDay: string
  readonly count: number
  readonly onNearEnd: () => void
  readonly onOpen: (machine: string, day: string) => void
}

const cellAt = ({ row, day }: Place): string => `[data-row="${row}"][data-day="${day}"]`

/** The place of a cell's button; null of anything else. */
const placeOf = (target: EventTarget | null): Place | null => {
  const { row, day } = (target as HTMLElement).dataset
  return row === undefined || day === undefined ? null : { row: Number(row), day: Number(day) }
}

const useKeys = (place: Signal<Place>, { rows, count }: Pick<MatrixProps, 'rows' | 'count'>) => {
  const box = useRef<HTMLDivElement>(null)
  const move = (event: KeyboardEvent): void => {
    if (placeOf(event.target) === null || event.altKey || event.ctrlKey || event.metaKey) return
    // the place goes ahead of the focus while a row is yet to be drawn
    const next = cellBehind(event.key, place.value, { rows: rows.length, days: count })
    if (next === null) return
    event.preventDefault()
    place.value = next
    const element = box.current
    if (element === null) return
    const top = next.row * ROW_HEIGHT
    const shown = element.clientHeight - 3 * ROW_HEIGHT
    if (top < element.scrollTop) element.scrollTop = top
    else if (top > element.scrollTop + shown) element.scrollTop = top - shown
    const cell = element.querySelector<HTMLElement>(cellAt(next))
    // what comes before the next frame, such as Enter, is for the new cell; a row out of sight is drawn once it is in sight
    if (cell === null) requestAnimationFrame(() => element.querySelector<HTMLElement>(cellAt(place.value))?.focus())
    else cell.focus()
  }
  const arrive = (event: FocusEvent): void => {
    const at = placeOf(event.target)
    if (at !== null) place.value = at
  }
  return { box, move, arrive }
}

export const Matrix = ({ rows, firstDay, count, onNearEnd, onOpen }: MatrixProps) => {
  const scroll = useSignal({ top: 0, height: 800 })
  const place = useSignal<Place>({ row: 0, day: count - 1 })
  const { box, move, arrive } = useKeys(place, { rows, count })
  useEffect(() => {
    const element = box.current
    if (element === null) return
    const look = (): void => void (scroll.value = { top: element.scrollTop, height: element.clientHeight })
    const observer = new ResizeObserver(look)
    observer.observe(element)
    element.addEventListener('scroll', look, { passive: true })
    // the newest day is what somebody comes for
    element.scrollLeft = element.scrollWidth
    return () => {
      observer.disconnect()
      element.removeEventListener('scroll', look)
    }
  }, [])
  const { from, to: end } = windowOf(
    { count: rows.length, rowHeight: ROW_HEIGHT },
    scroll.value.top,
    scroll.value.height,
  )
  const isNearEnd = end >= rows.length - NEAR_ROWS
  useEffect(() => {
    if (isNearEnd) onNearEnd()
  }, [isNearEnd, rows.length])
  // where the row of the keyboard is out of sight, Tab comes to the first one in sight
  const at = place.value.row >= from && place.value.row < end ? place.value : { ...place.value, row: from }
  return (
    <div
      ref={box}
      class="table"
      tabIndex={0}
      role="region"
      aria-label={texts.caption}
      onKeyDown={move}
      onFocusIn={arrive}
    >
      <table aria-rowcount={rows.length + 1}>
        <caption>{texts.caption}</caption>
        <Head firstDay={firstDay} count={count} />
        <tbody>
          {from > 0 ? <tr class="gap" aria-hidden="true" style={{ height: `${from * ROW_HEIGHT}px` }} /> : null}
          {rows.slice(from, end).map((one, index) => (
            <Row
              key={one.machine}
              one={one}
              index={from + index}
              count={count}
              firstDay={firstDay}
              at={at.row === from + index ? at.day : null}
              onOpen={onOpen}
            />
          ))}
          {end < rows.length ? (
            <tr class="gap" aria-hidden="true" style={{ height: `${(rows.length - end) * ROW_HEIGHT}px` }} />
          ) : null}
        </tbody>
      </table>
    </div>
  )
}
