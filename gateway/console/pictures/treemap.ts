// What a tenant's packs are made of as rectangles whose areas add up to all of it; the same for the tenants of a gateway. Pure.
import { hierarchy, treemap, treemapSquarify } from 'd3-hierarchy'
import type { UsageReport } from '../../../protocol/maintenance.ts'

/** Machines that have a rectangle of their own, the largest; the others are one together. */
export const MACHINES_SHOWN = 150

/**
 * What a rectangle stands for: `disk`, what one disk alone needs; `own`, the rest of a machine's (shared between its disks, and
 * manifests); `machine`, one whose disks are not told apart; `further`, machines without a rectangle of their own; `shared`, what
 * several machines need; `dead`, garbage; `upload`, backups under way; `other`, headers and leftovers; `tenant`.
 */
export type TileKind = 'disk' | 'own' | 'machine' | 'further' | 'shared' | 'dead' | 'upload' | 'other' | 'tenant'

export interface Part {
  readonly kind: TileKind
  /** Of a machine, or a tenant; empty where it is none's. */
  readonly name: string
  readonly disk: string | null
  /** How many machines it stands for. */
  readonly machines: number
  readonly bytes: number
}

export interface Group {
  /** Null for what belongs to nobody alone. */
  readonly name: string | null
  readonly parts: readonly Part[]
}

export interface Tile extends Part {
  readonly x: number
  readonly y: number
  readonly width: number
  readonly height: number
}

/** The frame around the rectangles of one machine. */
export interface Frame {
  readonly name: string
  readonly bytes: number
  readonly x: number
  readonly y: number
  readonly width: number
  readonly height: number
}

export interface Treemap {
  readonly tiles: readonly Tile[]
  readonly frames: readonly Frame[]
}

export interface Size {
  readonly width: number
  readonly height: number
}

const part = (kind: TileKind, bytes: number, of: Partial<Part> = {}): Part => ({
  kind,
  name: '',
  disk: null,
  machines: 0,
  bytes,
  ...of,
})

export const bytesOf = (parts: readonly Part[]): number => parts.reduce((sum, { bytes }) => sum + bytes, 0)

const ofMachine = (report: UsageReport, name: string, storedBytes: number): Group => {
  const disks = report.rows
    .filter((row) => row.scope === 'disk' && row.machine === name)
    .map((row) => part('disk', row.storedBytes, { name, disk: row.disk, machines: 1 }))
  if (disks.length === 0) return { name, parts: [part('machine', storedBytes, { name, machines: 1 })] }
  return { name, parts: [...disks, part('own', Math.max(0, storedBytes - bytesOf(disks)), { name, machines: 1 })] }
}

/** The groups of a report, without what takes nothing: `packBytes` and `missingBytes` together. */
export const groupsOf = (report: UsageReport): Group[] => {
  const machines = report.rows
    .filter(({ scope }) => scope === 'machine')
    .toSorted((a, b) => b.storedBytes - a.storedBytes)
  const shown = machines.slice(0, MACHINES_SHOWN)
  const { machineBytes, sharedBytes, deadBytes, uploadBytes, otherBytes } = report.parts
  const furtherBytes = machineBytes - shown.reduce((sum, { storedBytes }) => sum + storedBytes, 0)
  const rest = [
    part('further', Math.max(0, furtherBytes), { machines: machines.length - shown.length }),
    part('shared', sharedBytes),
    part('dead', deadBytes),
    part('upload', uploadBytes),
    part('other', otherBytes),
  ]
  return [
    ...shown.map(({ machine, storedBytes }) => ofMachine(report, machine, storedBytes)),
    ...rest.map((one) => ({ name: null, parts: [one] })),
  ].flatMap(({ name, parts }) => {
    const taking = parts.filter(({ bytes }) => bytes > 0)
    return taking.length === 0 ? [] : [{ name, parts: taking }]
  })
}

/** The groups of a gateway's tenants. */
export const tenantGroups = (tenants: readonly { readonly name: string; readonly packBytes: number }[]): Group[] =>
  tenants
    .filter(({ packBytes }) => packBytes > 0)
    .map(({ name, packBytes }) => ({ name: null, parts: [part('tenant', packBytes, { name })] }))

interface Node {
  readonly group?: Group
  readonly part?: Part
  readonly children?: readonly Node[]
}

const boxOf = ({ x0, y0, x1, y1 }: { x0: number; y0: number; x1: number; y1: number }) => ({
  x: x0,
  y: y0,
  width: x1 - x0,
  height: y1 - y0,
})

/** Rectangles that fill the size, each as large as its share of all bytes. */
export const treemapOf = (groups: readonly Group[], { width, height }: Size): Treemap => {
  const root = hierarchy<Node>({
    children: groups.map((group) => ({ group, children: group.parts.map((one) => ({ part: one })) })),
  })
    .sum(({ part: one }) => one?.bytes ?? 0)
    .sort((a, b) => (b.value ?? 0) - (a.value ?? 0))
  const laid = treemap<Node>().tile(treemapSquarify).size([width, height])(root)
  return {
    tiles: laid
      .leaves()
      .flatMap((leaf) => (leaf.data.part === undefined ? [] : [{ ...leaf.data.part, ...boxOf(leaf) }])),
    frames: (laid.children ?? []).flatMap((node) => {
      const name = node.data.group?.name ?? null
      return name === null ? [] : [{ name, bytes: node.value ?? 0, ...boxOf(node) }]
    }),
  }
}
