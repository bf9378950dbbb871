// The raster on a canvas, with a cell that keys and the pointer move; a pattern of its own for each kind, beside its colour.
import type { RefObject } from 'preact'
import { useEffect, useRef } from 'preact/hooks'
import type { ChangeKind } from '../../../../protocol/changes.ts'
import { theme } from '../../frame/console.ts'
import { bytesText } from '../../parts/format.ts'
import { cellPart, kindOf, movedBy, nextChanged, type Grid } from '../../pictures/raster.ts'
import { changes as texts } from '../../texts/changes.ts'
import { points as words } from '../../texts/points.ts'

interface Colours {
  readonly data: string
  readonly zero: string
  readonly damaged: string
  readonly none: string
  readonly cut: string
  readonly cursor: string
}

/** The style sheet's colours as they are now, in a form that a canvas takes; the element's own colour is used to find them. */
const coloursOf = (element: HTMLElement): Colours => {
  const style = getComputedStyle(element)
  // the property itself is still a choice between light and dark, which a canvas takes for no colour at all
  const of = (name: string): string => {
    element.style.color = `var(${name})`
    return style.color
  }
  return {
    data: of('--busy'),
    zero: of('--warn'),
    damaged: of('--bad'),
    none: of('--raised'),
    cut: of('--surface'),
    cursor: of('--text'),
  }
}

/** Draws one cell: data is full, zeroes are hollow with a stroke, damage is full with a cross cut out. */
const drawCell = (
  pen: CanvasRenderingContext2D,
  kind: ChangeKind | null,
  colours: Colours,
  { x, y, pixels }: { readonly x: number; readonly y: number; readonly pixels: number },
): void => {
  const edge = pixels - 1
  pen.fillStyle = kind === 'data' || kind === 'damaged' ? colours[kind] : colours.none
  pen.fillRect(x, y, edge, edge)
  if (kind !== 'zero' && kind !== 'damaged') return
  pen.lineWidth = Math.max(1, Math.round(pixels / 7))
  pen.strokeStyle = kind === 'zero' ? colours.zero : colours.cut
  pen.beginPath()
  if (kind === 'zero') {
    const half = pen.lineWidth / 2
    pen.rect(x + half, y + half, edge - 2 * half, edge - 2 * half)
    pen.moveTo(x + half, y + edge - half)
    pen.lineTo(x + edge - half, y + half)
  } else {
    pen.moveTo(x + 1, y + 1)
    pen.lineTo(x + edge - 1, y + edge - 1)
    pen.moveTo(x + edge - 1, y + 1)
    pen.lineTo(x + 1, y + edge - 1)
  }
  pen.stroke()
}

/** A canvas of so many pixels of the page, sharp on any screen. */
const penOf = (canvas: HTMLCanvasElement, width: number, height: number): CanvasRenderingContext2D | null => {
  const scale = globalThis.devicePixelRatio || 1
  canvas.width = Math.round(width * scale)
  canvas.height = Math.round(height * scale)
  canvas.style.width = `${width}px`
  canvas.style.height = `${height}px`
  const pen = canvas.getContext('2d')
  pen?.scale(scale, scale)
  return pen
}

/** Draws at once, and again when what is shown or the colours change; the system's own may while the page is open. */
const useDrawn = (
  canvas: RefObject<HTMLCanvasElement | null>,
  onDraw: (element: HTMLCanvasElement) => void,
  shown: readonly unknown[],
): void =>
  useEffect(() => {
    const element = canvas.current
    if (element === null) return
    const again = (): void => onDraw(element)
    again()
    const dark = matchMedia('(prefers-color-scheme: dark)')
    dark.addEventListener('change', again)
    return () => dark.removeEventListener('change', again)
  }, [...shown, theme.value])

const SWATCH_PIXELS = 16

/** A cell as the legend shows it. */
export const Swatch = ({ kind }: { kind: ChangeKind | null }) => {
  const canvas = useRef<HTMLCanvasElement>(null)
  useDrawn(
    canvas,
    (element) => {
      const pen = penOf(element, SWATCH_PIXELS, SWATCH_PIXELS)
      if (pen !== null) drawCell(pen, kind, coloursOf(element), { x: 0, y: 0, pixels: SWATCH_PIXELS })
    },
    [kind],
  )
  return <canvas ref={canvas} class="swatch" aria-hidden="true" />
}

interface RasterProps {
  readonly grid: Grid
  readonly cells: Uint8Array
  /** The one that is looked at. */
  readonly cell: number
  readonly onMove: (cell: number) => void
  readonly onCloser: (cell: number) => void
  readonly onFurther: () => void
}

const draw = (canvas: HTMLCanvasElement, { grid, cells, cell }: RasterProps): void => {
  const { columns, rows, pixels, count } = grid
  const pen = penOf(canvas, columns * pixels, rows * pixels)
  if (pen === null) return
  const colours = coloursOf(canvas)
  const placeOf = (at: number) => ({ x: (at % columns) * pixels, y: Math.floor(at / columns) * pixels, pixels })
  for (let at = 0; at < count; at += 1) drawCell(pen, kindOf(cells, at), colours, placeOf(at))
  const { x, y } = placeOf(cell)
  pen.strokeStyle = colours.cursor
  pen.lineWidth = 2
  pen.strokeRect(x, y, pixels - 1, pixels - 1)
}

export const Raster = (props: RasterProps) => {
  const { grid, cells, cell, onMove, onCloser, onFurther } = props
  const canvas = useRef<HTMLCanvasElement>(null)
  const shown = [grid.offset, grid.bytes, grid.granularity, grid.columns, grid.pixels, cells, cell]
  useDrawn(canvas, (element) => draw(element, props), shown)
  const place = cellPart(grid, cell)
  const kind = kindOf(cells, cell)
  const what = texts.cell(
    bytesText(place.offset),
    bytesText(place.bytes),
    kind === null ? words.unchanged : words.changes[kind],
  )
  const press = (event: KeyboardEvent): void => {
    if (event.ctrlKey || event.metaKey || event.altKey) return
    const next = event.key.toLowerCase() === 'n' ? nextChanged(cells, cell) : movedBy(event.key, cell, grid)
    if (event.key === 'Enter' || event.key === '+') onCloser(cell)
    else if (event.key === 'Backspace' || event.key === '-') onFurther()
    else if (next !== null) onMove(next)
    else return
    event.preventDefault()
  }
  const cellAt = (event: MouseEvent): number => {
    const column = Math.min(grid.columns - 1, Math.floor(event.offsetX / grid.pixels))
    return Math.min(grid.count - 1, Math.floor(event.offsetY / grid.pixels) * grid.columns + column)
  }
  return (
    <>
      <canvas
        ref={canvas}
        class="raster"
        role="slider"
        tabIndex={0}
        aria-label={texts.raster}
        aria-valuemin={0}
        aria-valuemax={grid.count - 1}
        aria-valuenow={cell}
        aria-valuetext={what}
        onKeyDown={press}
        onClick={(event) => onMove(cellAt(event))}
        onDblClick={(event) => onCloser(cellAt(event))}
      />
      <p class="at">{what}</p>
    </>
  )
}
