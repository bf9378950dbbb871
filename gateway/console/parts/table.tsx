// A table of any length: only the rows in sight are in the page, and further pages are asked for as somebody comes near.
import { useSignal } from '@preact/signals'
import type { ComponentChildren } from 'preact'
import { useEffect, useRef } from 'preact/hooks'
import { windowOf } from './window.ts'

export interface Column<Row> {
  readonly name: string
  readonly title: ComponentChildren
  readonly cell: (row: Row) => ComponentChildren
  /** Numbers stand at the right. */
  readonly isNumber?: boolean
  /** Left out where the page is narrow. */
  readonly isExtra?: boolean
}

interface TableProps<Row> {
  readonly caption: string
  readonly rows: readonly Row[]
  readonly columns: readonly Column<Row>[]
  readonly keyOf: (row: Row) => string
  /** Of all rows, where more are to come than `rows` has. */
  readonly count?: number
  readonly onNearEnd?: () => void
  /** Height of a row in pixels; the style sheet's --row-height. */
  readonly rowHeight?: number
}

/** Height of a row in pixels, on wide pages and on narrow ones, where a row is a small card. */
const ROW_HEIGHT = 44

/** How near the end the next page is asked for, in rows. */
const NEAR_ROWS = 60

export const Table = <Row,>({ caption, rows, columns, keyOf, count, onNearEnd, rowHeight }: TableProps<Row>) => {
  const height = rowHeight ?? ROW_HEIGHT
  const box = useRef<HTMLDivElement>(null)
  const place = useSignal({ scrolled: 0, height: 800 })
  useEffect(() => {
    const element = box.current
    if (element === null) return
    const look = (): void => {
      place.value = { scrolled: element.scrollTop, height: element.clientHeight }
    }
    const observer = new ResizeObserver(look)
    observer.observe(element)
    element.addEventListener('scroll', look, { passive: true })
    return () => {
      observer.disconnect()
      element.removeEventListener('scroll', look)
    }
  }, [])
  const { from, to } = windowOf({ count: rows.length, rowHeight: height }, place.value.scrolled, place.value.height)
  const isNearEnd = to >= rows.length - NEAR_ROWS
  useEffect(() => {
    if (isNearEnd) onNearEnd?.()
  }, [isNearEnd, rows.length])
  const classOf = ({ isNumber, isExtra }: Column<Row>): string =>
    `${isNumber === true ? 'number' : ''} ${isExtra === true ? 'extra' : ''}`
  return (
    <div ref={box} class="table" tabIndex={0} role="region" aria-label={caption}>
      <table aria-rowcount={(count ?? rows.length) + 1}>
        <caption>{caption}</caption>
        <thead>
          <tr aria-rowindex={1}>
            {columns.map((column) => (
              <th key={column.name} scope="col" class={classOf(column)} data-column={column.name}>
                {column.title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {from > 0 ? <tr class="gap" aria-hidden="true" style={{ height: `${from * height}px` }} /> : null}
          {rows.slice(from, to).map((row, index) => (
            <tr key={keyOf(row)} aria-rowindex={from + index + 2} style={{ height: `${height}px` }}>
              {columns.map((column) => (
                <td key={column.name} class={classOf(column)} data-column={column.name}>
                  {column.cell(row)}
                </td>
              ))}
            </tr>
          ))}
          {to < rows.length ? (
            <tr class="gap" aria-hidden="true" style={{ height: `${(rows.length - to) * height}px` }} />
          ) : null}
        </tbody>
      </table>
    </div>
  )
}
