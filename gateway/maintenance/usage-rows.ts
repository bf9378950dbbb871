// The rows of a report of usage: a pure sum over what a survey counted for each owner.
import type { CountedPoint } from '../catalog/usage.ts'
import type { UsageRow } from '../../protocol/maintenance.ts'
import { recordBytes } from '../packs/format.ts'
import type { Lattice, OwnedImage, Owner } from './lattice.ts'

/** One disk, or one of the attachments, of one restore point, as counted. */
export interface CountedImage extends OwnedImage {
  /** Of the disk, in bytes. */
  readonly size: number
  /** Plain bytes of its chunks that are not zero, with repetition. */
  readonly usedBytes: number
}

export interface UsageCounts {
  /** In the order of the lattice. */
  readonly images: readonly CountedImage[]
  readonly points: readonly CountedPoint[]
  readonly lattice: Lattice
  /** By owner code: plain bytes of chunks, stored bytes of all records; manifests are the tenant's. */
  readonly owners: ReadonlyMap<number, { readonly plainBytes: number; readonly storedBytes: number }>
}

type Row = { -readonly [K in keyof UsageRow]: UsageRow[K] }

const emptyRow = (part: Pick<Row, 'scope'> & Partial<Row>): Row => ({
  machine: '',
  disk: null,
  point: null,
  timeMs: null,
  points: 0,
  logicalBytes: 0,
  usedBytes: 0,
  uniqueBytes: 0,
  sharedBytes: 0,
  storedBytes: 0,
  ...part,
})

/** The rows that one machine has. */
interface MachineRows {
  readonly machine: Row
  readonly disks: Map<string, Row>
  readonly points: Map<string, Row>
}

class Rows {
  readonly tenant = emptyRow({ scope: 'tenant' })
  readonly machines = new Map<string, MachineRows>()

  machine(machine: string): MachineRows {
    const rows = this.machines.get(machine)
    if (rows !== undefined) return rows
    const added = { machine: emptyRow({ scope: 'machine', machine }), disks: new Map(), points: new Map() }
    this.machines.set(machine, added)
    return added
  }

  disk(machine: string, disk: string): Row {
    const { disks } = this.machine(machine)
    const row = disks.get(disk) ?? emptyRow({ scope: 'disk', machine, disk })
    disks.set(disk, row)
    return row
  }

  point(machine: string, point: string): Row {
    const { points } = this.machine(machine)
    const row = points.get(point) ?? emptyRow({ scope: 'point', machine, point })
    points.set(point, row)
    return row
  }

  /** The rows of all that contain this part, the part's own included. */
  around(part: Owner): Row[] {
    if (part.scope === 'tenant') return [this.tenant]
    const rows = [this.tenant, this.machine(part.machine).machine]
    if ('disk' in part) rows.push(this.disk(part.machine, part.disk))
    if ('point' in part) rows.push(this.point(part.machine, part.point))
    return rows
  }
}

const byName = <T>([a]: readonly [string, T], [b]: readonly [string, T]): number => (a < b ? -1 : 1)

/** The tenant, then each machine with its disks and, where they are asked for, its points in order of time. */
export const usageRows = (
  { images, points, lattice, owners }: UsageCounts,
  wanted: { readonly points: boolean },
): UsageRow[] => {
  const rows = new Rows()
  for (const { id, machine, timeMs, manifestLength } of points) {
    const row = rows.point(machine, id)
    row.timeMs = timeMs
    for (const one of rows.around({ scope: 'point', machine, point: id })) {
      one.points++
      // the tenant has it already
      if (manifestLength !== null && one.scope !== 'tenant') one.storedBytes += recordBytes(manifestLength)
    }
  }
  const counted = new Set<string>()
  for (const { machine, disk, point, size, usedBytes } of images) {
    for (const row of rows.around({ scope: 'image', machine, disk, point })) {
      row.logicalBytes += size
      row.usedBytes += usedBytes
    }
    // a point's attachments are several images of one name
    const key = JSON.stringify([point, disk])
    if (!counted.has(key)) rows.disk(machine, disk).points++
    counted.add(key)
  }
  for (const [code, { plainBytes, storedBytes }] of owners)
    for (const row of rows.around(lattice.owner(code))) {
      row.uniqueBytes += plainBytes
      row.storedBytes += storedBytes
    }
  const listed: Row[] = [rows.tenant]
  for (const [, of] of [...rows.machines].sort(byName)) {
    listed.push(of.machine, ...[...of.disks].sort(byName).map(([, row]) => row))
    // in the order of `points`
    if (wanted.points) listed.push(...of.points.values())
  }
  for (const row of listed) row.sharedBytes = Math.max(0, row.usedBytes - row.uniqueBytes)
  return listed
}

/** The rows of the tenant and of one machine, or all. */
export const rowsAbout = (rows: readonly UsageRow[], machine: string | null): UsageRow[] =>
  rows.filter((row) => machine === null || row.scope === 'tenant' || row.machine === machine)

/** At most so many of a report's rows, in their order: of its points the newest. */
export const fittingRows = (rows: readonly UsageRow[], rowsMax: number): UsageRow[] => {
  const points = rows.filter(({ scope }) => scope === 'point')
  const pointsMax = Math.max(0, rowsMax - (rows.length - points.length))
  const kept = new Set(points.sort((a, b) => (b.timeMs ?? 0) - (a.timeMs ?? 0)).slice(0, pointsMax))
  return rows.filter((row) => row.scope !== 'point' || kept.has(row)).slice(0, rowsMax)
}
