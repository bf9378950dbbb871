// One comparison: its sentence, the raster of the part that is shown, the legend with figures, and the ranges as a table.
import { useSignal } from '@preact/signals'
import { useEffect, useRef } from 'preact/hooks'
import { CHANGE_KINDS, type ChangedRange } from '../../../../protocol/changes.ts'
import type { Point } from '../../../../protocol/schemas.ts'
import { link, zone } from '../../frame/console.ts'
import { filter, route } from '../../frame/router.ts'
import { Bytes, Button, ErrorNote, Loading, Mark } from '../../parts/basics.tsx'
import { bytesText, countText, timeText } from '../../parts/format.ts'
import {
  cellPart,
  cellsOf,
  columnsFor,
  closer,
  further,
  granularityFor,
  gridOf,
  partOf,
  sumsOf,
  withLost,
  type Part,
} from '../../pictures/raster.ts'
import { ChangesBook, lostOf, type Changes } from '../../stores/changes.ts'
import { changes as texts } from '../../texts/changes.ts'
import { points as words } from '../../texts/points.ts'
import { Raster, Swatch } from './raster.tsx'

const BOOK = new ChangesBook(link)

/** Ranges that the table has. */
const RANGES_SHOWN = 200

/** Room around the raster within its panel, in pixels. */
const PADDING = 36

const Ranges = ({ ranges }: { ranges: readonly ChangedRange[] }) => (
  <details class="ranges">
    <summary>{texts.figures.title}</summary>
    <table>
      <thead>
        <tr>
          <th scope="col" class="number">
            {texts.figures.columns.offset}
          </th>
          <th scope="col" class="number">
            {texts.figures.columns.bytes}
          </th>
          <th scope="col">{texts.figures.columns.kind}</th>
        </tr>
      </thead>
      <tbody>
        {ranges.slice(0, RANGES_SHOWN).map(({ offset, bytes, kind }) => (
          <tr key={offset}>
            <td class="number">{countText(offset)}</td>
            <td class="number">
              <Bytes bytes={bytes} />
            </td>
            <td>{words.changes[kind]}</td>
          </tr>
        ))}
      </tbody>
    </table>
    {ranges.length > RANGES_SHOWN ? <p>{texts.figures.more(countText(ranges.length - RANGES_SHOWN))}</p> : null}
  </details>
)

const sentenceOf = (changes: Changes, from: Point | null, point: Point, part: Part): string => {
  const sums = sumsOf(changes.ranges, part)
  const changed = sums.data + sums.zero
  const size = bytesText(part.bytes)
  const is = timeText(point.timeMs, zone.value)
  if (from === null) return texts.content(bytesText(changed), size, is)
  const was = timeText(from.timeMs, zone.value)
  const figures = [bytesText(changed), size, was, is] as const
  // never that nothing differs where that is not known
  if (sums.damaged > 0) return texts.atLeast(...figures)
  return changed === 0 ? texts.same(size, was, is) : texts.sentence(...figures)
}

/** All that one picture is made of: while the next is read, this one stays as a whole, and dimmed. */
interface ShownProps {
  readonly changes: Changes
  readonly part: Part
  readonly lost: readonly ChangedRange[]
  readonly width: number
  readonly from: Point | null
  readonly point: Point
}

const Shown = ({ changes, part, lost, width, from, point }: ShownProps) => {
  const { size, fromSize, granularity, ranges, cutAt } = changes
  const place = useSignal(0)
  const grid = gridOf(part, granularity, width)
  const all = withLost(ranges, lost)
  const cells = cellsOf(grid, all)
  const at = Math.max(0, Math.min(Math.floor((place.value - grid.offset) / granularity), grid.count - 1))
  const sums = sumsOf(all, part)
  const look = (next: Part): void => {
    const isWhole = next.offset === 0 && next.bytes >= size
    filter({ offset: isWhole ? null : String(next.offset), bytes: isWhole ? null : String(next.bytes) })
  }
  const isWhole = part.offset === 0 && part.bytes >= size
  return (
    <>
      <p class="sentence" role="status">
        <strong>{sentenceOf(changes, from, point, part)}</strong>{' '}
        {sums.damaged === 0 ? null : <Mark tone="bad">{texts.unknown(bytesText(sums.damaged))}</Mark>}{' '}
        {from !== null && fromSize !== null && fromSize !== size ? (
          <Mark tone="warn">{texts.resized(bytesText(fromSize), bytesText(size))}</Mark>
        ) : null}
      </p>
      {cutAt === null ? null : <p class="note warn">{texts.cut(bytesText(cutAt))}</p>}
      <ul class="legend" aria-label={texts.legend}>
        {CHANGE_KINDS.map((kind) => (
          <li key={kind}>
            <Swatch kind={kind} /> {words.changes[kind]} <Bytes bytes={sums[kind]} />
          </li>
        ))}
        <li>
          <Swatch kind={null} /> {words.unchanged}
        </li>
      </ul>
      <Raster
        grid={grid}
        cells={cells}
        cell={at}
        onMove={(next) => (place.value = cellPart(grid, next).offset)}
        onCloser={(where) => {
          place.value = cellPart(grid, where).offset
          look(closer(grid, where, granularity))
        }}
        onFurther={() => look(further(part, size))}
      />
      <div class="actions zoom">
        <Button onClick={() => look(closer(grid, at, granularity))} disabled={part.bytes <= granularity * 16}>
          {texts.closer}
        </Button>
        <Button onClick={() => look(further(part, size))} disabled={isWhole}>
          {texts.further}
        </Button>
        <Button onClick={() => look({ offset: 0, bytes: size })} disabled={isWhole}>
          {texts.whole}
        </Button>
      </div>
      <p class="quiet">
        {texts.part(bytesText(part.offset), bytesText(part.offset + part.bytes), bytesText(granularity))} {texts.keys}
      </p>
      <Ranges ranges={all} />
    </>
  )
}

export const Compared = ({ from, point, disk }: { from: Point | null; point: Point; disk: string }) => {
  const box = useRef<HTMLDivElement>(null)
  const width = useSignal(0)
  const lost = useSignal<readonly ChangedRange[]>([])
  useEffect(() => {
    const element = box.current
    if (element === null) return
    const look = (): void => {
      width.value = Math.max(120, element.clientWidth - PADDING)
    }
    const observer = new ResizeObserver(look)
    observer.observe(element)
    look()
    return () => observer.disconnect()
  }, [])
  useEffect(() => {
    let isOver = false
    lost.value = []
    // what is known to be lost is told beside what differs; where it cannot be had, the map says what it knows
    if (point.lostBytes > 0)
      lostOf(link, point.id, disk).then(
        (found) => (isOver ? null : (lost.value = found)),
        () => null,
      )
    return () => {
      isOver = true
    }
  }, [point.id, disk, link.openings.value])
  const fromDisk = from?.disks.some(({ name }) => name === disk) === true ? from : null
  const size = point.disks.find(({ name }) => name === disk)!.size
  const part = partOf(route.value.query['offset'], route.value.query['bytes'], size)
  const granularity = granularityFor(part, columnsFor(Math.max(1, width.value)))
  const bytes = part.offset + part.bytes >= size ? null : part.bytes
  const asked = { from: fromDisk?.id ?? null, to: point.id, disk, offset: part.offset, bytes, granularity }
  const answer = width.value === 0 ? null : BOOK.ask(asked).value
  const isWaiting = answer?.kind === 'waiting'
  const last = useRef<ShownProps | null>(null)
  if (answer?.kind === 'known')
    last.current = {
      changes: answer.changes,
      part,
      lost: lost.value,
      width: width.value,
      from: fromDisk,
      point,
    }
  const shown = last.current
  return (
    <div ref={box} class="panel map">
      {answer?.kind === 'failed' ? <ErrorNote error={answer.error} /> : null}
      {answer?.kind !== 'failed' && shown === null ? <Loading rows={8} /> : null}
      {answer?.kind !== 'failed' && shown !== null ? (
        <div class={isWaiting ? 'waits' : ''} aria-busy={isWaiting}>
          <Shown {...shown} />
        </div>
      ) : null}
    </div>
  )
}
