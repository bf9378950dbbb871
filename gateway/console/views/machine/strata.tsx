// Restore points as layers, the newest on top: each across the disk with what it changed, as thick as what was sent.
import { useSignal } from '@preact/signals'
import { useEffect, useRef } from 'preact/hooks'
import type { KeepReason } from '../../../../protocol/retention.ts'
import type { Point } from '../../../../protocol/schemas.ts'
import { link, zone } from '../../frame/console.ts'
import { filter } from '../../frame/router.ts'
import type { Pages } from '../../net/pages.ts'
import { Bytes, Button, Mark, Select } from '../../parts/basics.tsx'
import { dayText, durationText, timeText } from '../../parts/format.ts'
import { CORE_COLUMNS, CORE_HEIGHT, coreOf, strataOf } from '../../pictures/strata.ts'
import { ChangesBook, type ChangesAsked } from '../../stores/changes.ts'
import type { Keeps } from '../../stores/points.ts'
import { machine as texts } from '../../texts/machine.ts'
import { points as words } from '../../texts/points.ts'
import { Badges } from './badges.tsx'

const BOOK = new ChangesBook(link)

const granularityOf = (size: number): number =>
  Math.max(4096, 2 ** Math.ceil(Math.log2(Math.max(1, size / CORE_COLUMNS))))

/** What to ask for a core: against the next older point that has the disk, or the empty disk where there is none. */
const askedOf = (points: readonly Point[], index: number, disk: string, areMore: boolean): ChangesAsked | null => {
  const point = points[index]!
  const image = point.disks.find(({ name }) => name === disk)
  if (image === undefined) return null
  const older = points.slice(index + 1).find(({ disks }) => disks.some(({ name }) => name === disk))
  const from = older?.id ?? (areMore ? point.base : null)
  return { from, to: point.id, disk, offset: 0, bytes: null, granularity: granularityOf(image.size) }
}

const Picture = ({ asked }: { asked: ChangesAsked }) => {
  const answer = BOOK.ask(asked).value
  if (answer.kind === 'waiting') return <span class="core quiet">{texts.strata.core.waiting}</span>
  if (answer.kind === 'failed') return <span class="core quiet">{texts.strata.core.unknown}</span>
  const { ranges, size } = answer.changes
  const paths = coreOf(ranges, size)
  return (
    <svg class="core" viewBox={`0 0 ${CORE_COLUMNS} ${CORE_HEIGHT}`} preserveAspectRatio="none" aria-hidden="true">
      <path class="data" d={paths.data} />
      <path class="zero" d={paths.zero} />
      <path class="damaged" d={paths.damaged} />
    </svg>
  )
}

/** A core that is asked for once it comes into sight. */
const Core = ({ asked }: { asked: ChangesAsked | null }) => {
  const box = useRef<HTMLSpanElement>(null)
  const isSeen = useSignal(false)
  useEffect(() => {
    const element = box.current
    if (element === null) return
    const observer = new IntersectionObserver((entries) => {
      if (entries.some(({ isIntersecting }) => isIntersecting)) isSeen.value = true
    })
    observer.observe(element)
    return () => observer.disconnect()
  }, [])
  return (
    <span ref={box} class="core-box">
      {asked === null ? <span class="core quiet">{texts.strata.noDisk}</span> : null}
      {asked !== null && isSeen.value ? <Picture asked={asked} /> : null}
    </span>
  )
}

interface LayerProps {
  readonly point: Point
  readonly height: number
  readonly asked: ChangesAsked | null
  readonly keptBy: readonly KeepReason[] | null
  readonly isChosen: boolean
  readonly isFirstOfDay: boolean
}

const Layer = ({ point, height, asked, keptBy, isChosen, isFirstOfDay }: LayerProps) => {
  const time = timeText(point.timeMs, zone.value)
  return (
    <button
      type="button"
      class={`layer ${point.kind}`}
      style={{ minHeight: `${height}px` }}
      aria-current={isChosen ? 'true' : undefined}
      tabIndex={isChosen ? 0 : -1}
      data-point={point.id}
      onClick={() => filter({ point: point.id })}
    >
      <span class="when">
        {isFirstOfDay ? <span class="day">{time.slice(0, 10)}</span> : null} {time.slice(11)}
      </span>
      <Core asked={asked} />
      <span class="badges">
        {point.kind === 'incremental' ? <span class="hidden">{words.kinds.incremental}</span> : null}
        <Badges point={point} keptBy={keptBy} />
      </span>
      <span class="sent">
        <Bytes bytes={point.bytesSent} />
      </span>
    </button>
  )
}

const KEYS: Readonly<Record<string, (index: number, count: number) => number>> = {
  ArrowDown: (index) => index + 1,
  ArrowUp: (index) => index - 1,
  Home: () => 0,
  End: (_, count) => count - 1,
}

const Legend = () => (
  <ul class="legend" aria-label={texts.strata.legend}>
    {(['data', 'zero', 'damaged'] as const).map((kind) => (
      <li key={kind}>
        <svg class="core" viewBox={`0 0 12 ${CORE_HEIGHT}`} width="16" height="16" aria-hidden="true">
          <path class={kind} d={coreOf([{ offset: 0, bytes: 12, kind }], CORE_COLUMNS)[kind]} />
        </svg>
        {words.changes[kind]}
      </li>
    ))}
  </ul>
)

/** Of the disk in the newest point that has it, in bytes. */
const sizeOf = (points: readonly Point[], disk: string): number | null =>
  points.flatMap(({ disks }) => disks.filter(({ name }) => name === disk))[0]?.size ?? null

interface StrataProps {
  readonly points: Pages<Point>
  readonly chosen: string | null
  /** Name of the disk that is shown; null for the first. */
  readonly disk: string | null
  /** Null where nobody said what keeps points. */
  readonly keeps: Keeps | null
}

export const Strata = ({ points, chosen, disk, keeps }: StrataProps) => {
  const list = useRef<HTMLOListElement>(null)
  const rows = points.rows.value ?? []
  const areMore = points.next.value !== null
  const names = [...new Set(rows.flatMap(({ disks }) => disks.map(({ name }) => name)))]
  const shown = disk !== null && names.includes(disk) ? disk : (names[0] ?? '')
  const layers = strataOf(rows)
  const move = (event: KeyboardEvent): void => {
    const key = KEYS[event.key]
    if (key === undefined) return
    event.preventDefault()
    const at = Math.max(
      0,
      rows.findIndex(({ id }) => id === chosen),
    )
    const next = rows[Math.max(0, Math.min(rows.length - 1, key(at, rows.length)))]!
    filter({ point: next.id })
    list.current?.querySelector<HTMLElement>(`[data-point="${next.id}"]`)?.focus()
  }
  return (
    <section class="panel" aria-labelledby="strata-title">
      <h2 id="strata-title">{texts.strata.title}</h2>
      <p class="quiet">{texts.strata.hint}</p>
      <div class="toolbar">
        {names.length > 1 ? (
          <Select
            label={texts.strata.disk}
            value={shown}
            choices={names.map((name) => ({ value: name, text: name }))}
            onChoose={(name) => filter({ disk: name })}
          />
        ) : null}
        <Legend />
      </div>
      <div class="heads quiet" aria-hidden="true">
        <span>{texts.strata.heads.time}</span>
        <span class="ends">
          <span>{texts.strata.heads.begin}</span>
          <Bytes bytes={sizeOf(rows, shown)} />
        </span>
        <span />
        <span class="sent">{texts.strata.heads.sent}</span>
      </div>
      <ol ref={list} class="strata" aria-label={texts.strata.list} onKeyDown={move}>
        {layers.map(({ id, height, above, gapMs }, index) => {
          const point = rows[index]!
          const day = dayText(point.timeMs, zone.value)
          return (
            <li key={id} style={{ marginTop: `${above}px` }}>
              {gapMs === null ? null : (
                <p class="gap-note">
                  <Mark tone="warn">{texts.strata.gap(durationText(gapMs))}</Mark>
                </p>
              )}
              <Layer
                point={point}
                height={height}
                asked={askedOf(rows, index, shown, areMore)}
                keptBy={keeps?.get(id) ?? null}
                isChosen={id === chosen || (chosen === null && index === 0)}
                isFirstOfDay={index === 0 || dayText(rows[index - 1]!.timeMs, zone.value) !== day}
              />
            </li>
          )
        })}
      </ol>
      {areMore ? (
        <Button onClick={() => void points.more()}>{texts.strata.older}</Button>
      ) : (
        <p class="quiet">{texts.strata.all}</p>
      )}
    </section>
  )
}
