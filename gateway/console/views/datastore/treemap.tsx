// The rectangles of a treemap; the table beside it says the same in words, so those who cannot see miss nothing.
import { bytesText, percentText } from '../../parts/format.ts'
import { useWidth } from '../../parts/width.ts'
import { bytesOf, treemapOf, type Group, type Tile, type TileKind } from '../../pictures/treemap.ts'
import { isolate } from '../../texts/isolate.ts'
import { datastore as texts } from '../../texts/datastore.ts'

/** Height for wide pages and narrow ones, in pixels. */
const HEIGHT = 360
const NARROW = 600
const NARROW_HEIGHT = 420

/** Pixels that a letter and a line of text take at most. */
const LETTER = 7.5
const LINE = 16

/** A pattern beside the colour for what belongs to no machine alone. */
const PATTERNS: Partial<Record<TileKind, string>> = { dead: 'hatch', shared: 'dots', other: 'hatch', upload: 'dots' }

const nameOf = ({ kind, name, disk, machines }: Tile): string => {
  if (kind === 'disk') return `${name} ${isolate(disk ?? '')}`
  if (kind === 'own') return `${name}: ${texts.parts.kinds.own}`
  if (kind === 'further') return texts.parts.machines(machines)
  return name === '' ? texts.parts.kinds[kind] : name
}

/** As much of a text as fits, and nothing where that says nothing. */
const fitting = (text: string, width: number): string => {
  const letters = Math.floor((width - 8) / LETTER)
  if (text.length <= letters) return text
  return letters < 4 ? '' : `${text.slice(0, letters - 1)}…`
}

const TileBox = ({ tile, all, onChoose }: { tile: Tile; all: number; onChoose: (tile: Tile) => void }) => {
  const { x, y, width, height, bytes, kind } = tile
  const pattern = PATTERNS[kind]
  const name = nameOf(tile)
  return (
    <g class={`tile-box ${kind}`} onClick={() => onChoose(tile)}>
      <title>{texts.parts.tile(name, bytesText(bytes), percentText(bytes / all))}</title>
      <rect x={x} y={y} width={width} height={height} />
      {pattern === undefined ? null : (
        <rect class="pattern" x={x} y={y} width={width} height={height} fill={`url(#${pattern})`} />
      )}
      {height < LINE + 4 ? null : (
        <text x={x + 4} y={y + LINE - 2}>
          {fitting(name, width)}
        </text>
      )}
      {height < 2 * LINE + 4 ? null : (
        <text x={x + 4} y={y + 2 * LINE - 2}>
          {fitting(bytesText(bytes), width)}
        </text>
      )}
    </g>
  )
}

const Patterns = () => (
  <defs>
    <pattern id="hatch" width="8" height="8" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
      <line class="ink" x1="0" y1="0" x2="0" y2="8" />
    </pattern>
    <pattern id="dots" width="8" height="8" patternUnits="userSpaceOnUse">
      <circle class="ink" cx="4" cy="4" r="1.2" />
    </pattern>
  </defs>
)

export const TreemapPicture = ({ groups, onChoose }: { groups: readonly Group[]; onChoose: (tile: Tile) => void }) => {
  const [box, width] = useWidth<HTMLDivElement>()
  const height = width.value < NARROW ? NARROW_HEIGHT : HEIGHT
  const all = Math.max(1, bytesOf(groups.flatMap(({ parts }) => parts)))
  const { tiles, frames } = treemapOf(groups, { width: width.value, height })
  return (
    <div ref={box} class="picture" style={{ minHeight: `${height}px` }}>
      {width.value === 0 ? null : (
        <svg class="treemap" width={width.value} height={height} aria-hidden="true">
          <Patterns />
          {tiles.map((tile) => (
            <TileBox key={`${tile.kind} ${tile.name} ${tile.disk ?? ''}`} tile={tile} all={all} onChoose={onChoose} />
          ))}
          {frames.map(({ name, x, y, width: wide, height: high }) => (
            <rect key={name} class="frame" x={x} y={y} width={wide} height={high} />
          ))}
        </svg>
      )}
    </div>
  )
}

export const Legend = ({ kinds }: { kinds: readonly TileKind[] }) => (
  <ul class="legend" aria-label={texts.parts.legend}>
    {kinds.map((kind) => {
      const pattern = PATTERNS[kind]
      return (
        <li key={kind}>
          <svg class="treemap" width="18" height="18" aria-hidden="true">
            <g class={`tile-box ${kind}`}>
              <rect x="0" y="0" width="18" height="18" />
              {pattern === undefined ? null : (
                <rect class="pattern" x="0" y="0" width="18" height="18" fill={`url(#${pattern})`} />
              )}
            </g>
          </svg>
          {texts.parts.kinds[kind]}
        </li>
      )
    })}
  </ul>
)
