// The raster of a disk: its cells in rows, what each holds, and how one moves and looks closer. Pure.
import { CHANGE_KINDS, type ChangedRange, type ChangeKind } from '../../../protocol/changes.ts'

/** Edge of a cell in pixels at least: smaller ones show no pattern. */
const CELL_PIXELS_MIN = 7
const CELL_PIXELS_MAX = 22

const COLUMNS_MIN = 16
const COLUMNS_MAX = 128
const ROWS_MAX = 32

/** Finest that is asked for, in bytes: no tenant has smaller chunks. */
const GRANULARITY_MIN = 4096

/** One step closer shows this part of what was shown. */
const ZOOM = 8

/** Cells at least of a part that is shown, so that there is something around what one looks at. */
const CELLS_MIN = 16

/** A part of a disk, in bytes. */
export interface Part {
  readonly offset: number
  readonly bytes: number
}

export interface Grid extends Part {
  /** Bytes of one cell. */
  readonly granularity: number
  readonly columns: number
  readonly rows: number
  /** Cells in use; the last row may be short. */
  readonly count: number
  /** Edge of a cell, in pixels. */
  readonly pixels: number
}

const powerOfTwoFrom = (value: number): number => 2 ** Math.max(0, Math.ceil(Math.log2(value)))

/** Columns of the raster on a page of this width in pixels. */
export const columnsFor = (width: number): number => {
  const fitting = Math.max(1, Math.floor(width / CELL_PIXELS_MIN))
  return Math.min(COLUMNS_MAX, Math.max(COLUMNS_MIN, 2 ** Math.floor(Math.log2(fitting))))
}

/** The granularity to ask for, so that a part fits into the raster. */
export const granularityFor = ({ bytes }: Part, columns: number): number =>
  Math.max(GRANULARITY_MIN, powerOfTwoFrom(bytes / (columns * ROWS_MAX)))

/** The raster of a part that begins and ends with cells; `granularity` is what the gateway told. */
export const gridOf = (part: Part, granularity: number, width: number): Grid => {
  const count = Math.max(1, Math.ceil(part.bytes / granularity))
  // a small part in few large cells rather than in one row of tiny ones
  const columns = Math.min(columnsFor(width), Math.max(COLUMNS_MIN, powerOfTwoFrom(Math.sqrt(count * 4))))
  const pixels = Math.max(1, Math.min(CELL_PIXELS_MAX, Math.floor(width / columns)))
  return { ...part, granularity, columns, rows: Math.ceil(count / columns), count, pixels }
}

/** The kind of a cell; null where nothing changed. */
export const kindOf = (cells: Uint8Array, cell: number): ChangeKind | null => {
  const value = cells[cell] ?? 0
  return value === 0 ? null : CHANGE_KINDS[value - 1]!
}

/** What a cell holds: 0 nothing that changed, else one more than the place of its kind in CHANGE_KINDS; the worst wins. */
export const cellsOf = (grid: Grid, ranges: readonly ChangedRange[]): Uint8Array => {
  const cells = new Uint8Array(grid.count)
  const worst: Readonly<Record<ChangeKind, number>> = { zero: 1, data: 2, damaged: 3 }
  const kinds: ChangeKind[] = [...CHANGE_KINDS]
  for (const { offset, bytes, kind } of ranges) {
    const first = Math.max(0, Math.floor((offset - grid.offset) / grid.granularity))
    const behind = Math.min(grid.count, Math.ceil((offset + bytes - grid.offset) / grid.granularity))
    for (let cell = first; cell < behind; cell += 1) {
      const before = kindOf(cells, cell)
      const known = before === null ? 0 : worst[before]
      if (worst[kind] > known) cells[cell] = kinds.indexOf(kind) + 1
    }
  }
  return cells
}

/** Bytes of each kind that ranges say of a part. */
export const sumsOf = (ranges: readonly ChangedRange[], part: Part): Readonly<Record<ChangeKind, number>> => {
  const sums = { data: 0, zero: 0, damaged: 0 }
  for (const { offset, bytes, kind } of ranges) {
    const from = Math.max(offset, part.offset)
    const to = Math.min(offset + bytes, part.offset + part.bytes)
    sums[kind] += Math.max(0, to - from)
  }
  return sums
}

/** Ranges that differ with what is known to be lost beside or in them, ascending and disjoint, as those are. */
export const withLost = (ranges: readonly ChangedRange[], lost: readonly ChangedRange[]): ChangedRange[] => {
  if (lost.length === 0) return [...ranges]
  const around = ranges.flatMap((range): ChangedRange[] => {
    const parts: ChangedRange[] = []
    const end = range.offset + range.bytes
    let offset = range.offset
    for (const { offset: from, bytes } of lost) {
      const to = from + bytes
      if (to <= offset || from >= end) continue
      if (from > offset) parts.push({ offset, bytes: from - offset, kind: range.kind })
      offset = Math.min(end, to)
    }
    return offset < end ? [...parts, { offset, bytes: end - offset, kind: range.kind }] : parts
  })
  return [...around, ...lost].toSorted((a, b) => a.offset - b.offset)
}

/** The part of the disk that a cell is. */
export const cellPart = (grid: Grid, cell: number): Part => {
  const offset = grid.offset + cell * grid.granularity
  return { offset, bytes: Math.max(0, Math.min(grid.granularity, grid.offset + grid.bytes - offset)) }
}

/** Where a key leads from a cell; null for keys that lead nowhere. */
export const movedBy = (key: string, cell: number, { columns, count, rows }: Grid): number | null => {
  const steps: Readonly<Record<string, number>> = {
    ArrowLeft: -1,
    ArrowRight: 1,
    ArrowUp: -columns,
    ArrowDown: columns,
    PageUp: -columns * Math.ceil(rows / 4),
    PageDown: columns * Math.ceil(rows / 4),
    Home: -count,
    End: count,
  }
  const step = steps[key]
  return step === undefined ? null : Math.max(0, Math.min(count - 1, cell + step))
}

/** The next cell that changed behind this one, from the beginning on where there is none; null where none has. */
export const nextChanged = (cells: Uint8Array, cell: number): number | null => {
  for (let step = 1; step <= cells.length; step += 1) {
    const at = (cell + step) % cells.length
    if (cells[at] !== 0) return at
  }
  return null
}

/** A part around a cell that is looked at closer; the same where it cannot be closer. `chunk` is the finest that is known. */
export const closer = (grid: Grid, cell: number, chunk: number): Part => {
  const bytes = Math.max(CELLS_MIN * chunk, powerOfTwoFrom(grid.bytes / ZOOM))
  if (bytes >= grid.bytes) return { offset: grid.offset, bytes: grid.bytes }
  const middle = cellPart(grid, cell).offset
  const step = bytes / CELLS_MIN
  const wanted = Math.floor((middle - bytes / 2) / step) * step
  const last = grid.offset + grid.bytes - bytes
  return { offset: Math.max(grid.offset, Math.min(Math.ceil(last / step) * step, wanted)), bytes }
}

/** A part that is looked at from further away; never more than the disk. */
export const further = ({ offset, bytes }: Part, size: number): Part => {
  const wider = powerOfTwoFrom(bytes) * ZOOM
  if (wider >= size) return { offset: 0, bytes: size }
  const step = wider / CELLS_MIN
  const middle = Math.floor((offset + bytes / 2 - wider / 2) / step) * step
  return { offset: Math.max(0, Math.min(Math.ceil((size - wider) / step) * step, middle)), bytes: wider }
}

/** A part of a disk that was asked for in a link, whatever it says. */
export const partOf = (offset: string | undefined, bytes: string | undefined, size: number): Part => {
  const [from, length] = [Number(offset ?? 'x'), Number(bytes ?? 'x')]
  const isPart = Number.isSafeInteger(from) && Number.isSafeInteger(length) && from >= 0 && length > 0 && from < size
  return isPart ? { offset: from, bytes: Math.min(length, size - from) } : { offset: 0, bytes: size }
}
