// The view Change map: where a disk differs between two restore points, or since nothing, as a raster; points as a film.
import { useSignal } from '@preact/signals'
import { useEffect } from 'preact/hooks'
import type { Point } from '../../../../protocol/schemas.ts'
import { link, zone } from '../../frame/console.ts'
import { to } from '../../frame/route.ts'
import { filter, route } from '../../frame/router.ts'
import { AsOf, Button, Empty, ErrorNote, Loading, Select } from '../../parts/basics.tsx'
import { timeText } from '../../parts/format.ts'
import { useMade, useWatched } from '../../parts/hooks.ts'
import { pointsOf } from '../../stores/points.ts'
import { changes as texts } from '../../texts/changes.ts'
import { Compared } from './compared.tsx'

/** How long the film shows one point, in milliseconds. */
const FRAME_MS = 900

/** `from` of a link: the point before, none, or a point's id. */
const BEFORE = ''
const NOTHING = 'none'

interface FilmProps {
  /** Oldest first. */
  readonly points: readonly Point[]
  readonly index: number
}

/** Goes through the points: a slider, two buttons, and by itself. */
const Film = ({ points, index }: FilmProps) => {
  const isPlaying = useSignal(false)
  const show = (next: number): void => {
    const point = points[next]
    if (point !== undefined) filter({ to: point.id })
  }
  useEffect(() => {
    if (!isPlaying.value) return
    const timer = setTimeout(() => {
      if (index + 1 < points.length) show(index + 1)
      else isPlaying.value = false
    }, FRAME_MS)
    return () => clearTimeout(timer)
  }, [isPlaying.value, index, points.length])
  const play = (): void => {
    if (!isPlaying.value && index + 1 >= points.length) show(0)
    isPlaying.value = !isPlaying.value
  }
  const time = timeText(points[index]!.timeMs, zone.value)
  return (
    <div class="film">
      <Button onClick={() => show(index - 1)} disabled={index === 0} label={texts.film.older}>
        {texts.film.olderSign}
      </Button>
      <label class="field">
        <span>
          {texts.film.label} <span class="quiet">{texts.film.place(index + 1, points.length)}</span> <time>{time}</time>
        </span>
        <input
          type="range"
          min={0}
          max={points.length - 1}
          value={index}
          aria-valuetext={time}
          onInput={(event) => show(event.currentTarget.valueAsNumber)}
        />
      </label>
      <Button onClick={() => show(index + 1)} disabled={index + 1 >= points.length} label={texts.film.newer}>
        {texts.film.newerSign}
      </Button>
      <Button onClick={play} disabled={points.length < 2}>
        {isPlaying.value ? texts.film.stop : texts.film.play}
      </Button>
    </div>
  )
}

/** The point that the chosen one is compared with; null for none. */
const fromOf = (points: readonly Point[], index: number, from: string, disk: string): Point | null => {
  if (from === NOTHING) return null
  const named = points.find(({ id }) => id === from)
  if (named !== undefined) return named
  return points.slice(0, index).findLast(({ disks }) => disks.some(({ name }) => name === disk)) ?? null
}

const Map = ({ machine, points }: { machine: string; points: readonly Point[] }) => {
  const { query } = route.value
  const wanted = points.findIndex(({ id }) => id === query['to'])
  const index = wanted < 0 ? points.length - 1 : wanted
  const point = points[index]!
  const names = [...new Set(points.flatMap(({ disks }) => disks.map(({ name }) => name)))]
  const disk = names.includes(query['disk'] ?? '') ? query['disk']! : (names[0] ?? '')
  const from = query['from'] ?? BEFORE
  const others = points.filter(({ id }) => id !== point.id).toReversed()
  return (
    <>
      <h1>{texts.title(machine)}</h1>
      <p>
        <a href={to('machine', [machine], { point: point.id })}>{texts.back(machine)}</a>
      </p>
      {wanted < 0 && query['to'] !== undefined ? <p role="status">{texts.gone}</p> : null}
      <div class="panel toolbar">
        <Select
          label={texts.disk}
          value={disk}
          choices={names.map((name) => ({ value: name, text: name }))}
          onChoose={(name) => filter({ disk: name, offset: null, bytes: null })}
        />
        <Select
          label={texts.from}
          value={from}
          choices={[
            { value: BEFORE, text: texts.before },
            { value: NOTHING, text: texts.nothing },
            ...others.map(({ id, timeMs }) => ({ value: id, text: timeText(timeMs, zone.value) })),
          ]}
          onChoose={(value) => filter({ from: value })}
        />
        <Film points={points} index={index} />
      </div>
      {point.disks.some(({ name }) => name === disk) ? (
        <Compared from={fromOf(points, index, from, disk)} point={point} disk={disk} />
      ) : (
        <Empty title={texts.noDisk(disk)} />
      )}
    </>
  )
}

export const ChangesView = () => {
  const machine = route.value.path[0] ?? ''
  const points = useWatched(useMade(() => pointsOf(link, machine, { all: true }), machine))
  const rows = points.rows.value
  const error = points.error.value
  const next = points.next.value
  // the film goes through all of them
  useEffect(() => {
    if (next !== null) void points.more()
  }, [next])
  if (rows === null)
    return error === null ? <Loading rows={10} /> : <ErrorNote error={error} onRetry={() => void points.refresh()} />
  const { query } = route.value
  const isThere = (id: string | undefined): boolean =>
    id === undefined || id === BEFORE || id === NOTHING || rows.some((point) => point.id === id)
  // what a link names may be on a page that is still to come
  if (next !== null && !(isThere(query['to']) && isThere(query['from'])))
    return error === null ? <Loading rows={10} /> : <ErrorNote error={error} onRetry={() => void points.refresh()} />
  if (rows.length === 0)
    return (
      <Empty title={texts.empty.title}>
        <p>{texts.empty.says}</p>
        <a href={to('machine', [machine])}>{texts.back(machine)}</a>
      </Empty>
    )
  return (
    <div class="changes">
      <AsOf asOfMs={points.asOfMs.value} error={error} />
      <Map machine={machine} points={rows.toReversed()} />
    </div>
  )
}
