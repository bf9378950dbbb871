// What a person wants restored, as the address has it: a point, the way, disks with their places, and who writes them. Pure.
import type { Point } from '../../../../protocol/schemas.ts'
import { dayText } from '../../parts/format.ts'

/** Before a disk's name, in the address. */
const TO = 'to:'

/** The place of a disk that is to be restored, while nobody has said where to. */
export const NOWHERE = '/'

/** Longest part of a file's name that a disk's name gives, in characters: a name of a file has 255 bytes. */
const NAME_CHARS_MAX = 120

/** New files for disks that are chosen, new files in one folder for all of them, or only what differs onto what is there. */
export const WAYS = ['disks', 'whole', 'onto'] as const
export type Way = (typeof WAYS)[number]

export interface Wish {
  readonly machine: string | null
  readonly point: string | null
  readonly agent: string | null
  readonly way: Way
  /** Of the whole machine; null while nobody has said which. */
  readonly folder: string | null
  /** Paths by disk; a disk that is not there is not restored. */
  readonly to: ReadonlyMap<string, string>
}

export const wishOf = (query: Readonly<Record<string, string>>): Wish => ({
  machine: query['machine'] ?? null,
  point: query['point'] ?? null,
  agent: query['agent'] ?? null,
  way: WAYS.find((way) => way === query['way']) ?? 'disks',
  folder: query['folder'] ?? null,
  to: new Map(
    Object.entries(query).flatMap(([name, value]) => (name.startsWith(TO) ? [[name.slice(TO.length), value]] : [])),
  ),
})

/** The change of the address that gives a disk its place, or takes it out for null. */
export const placed = (disk: string, path: string | null): Record<string, string | null> => ({ [`${TO}${disk}`]: path })

/** The change of the address that forgets all places. */
export const unplaced = ({ to }: Wish): Record<string, null> => ({
  ...Object.fromEntries([...to.keys()].map((disk) => [`${TO}${disk}`, null])),
  folder: null,
})

/** The change of the address to another way, whose places are others. */
export const wayChosen = (wish: Wish, way: Way): Record<string, string | null> => ({
  ...unplaced(wish),
  way: way === 'disks' ? null : way,
})

const safe = (text: string): string => text.replaceAll(/[^A-Za-z0-9._-]/gu, '_').slice(0, NAME_CHARS_MAX)

const inFolder = (folder: string, name: string): string => `${folder.replace(/\/+$/u, '')}/${name}`

/** A path that is offered for a disk: its machine's name, the disk's and the day in a zone; none without a folder for it. */
export const offered = (folder: string | null, { machine, timeMs }: Point, disk: string, zone: string): string =>
  folder === null ? NOWHERE : inFolder(folder, `${machine}-${safe(disk)}-${dayText(timeMs, zone)}.qcow2`)

/** The places of all disks in one folder, no two of them the same, whatever the disks are called. */
const allIn = (folder: string, point: Point, zone: string): Map<string, string> => {
  const taken = new Set<string>()
  return new Map(
    point.disks.map(({ name }) => {
      const first = offered(folder, point, name, zone)
      let path = first
      for (let count = 2; taken.has(path); count++) path = first.replace(/\.qcow2$/u, `-${count}.qcow2`)
      taken.add(path)
      return [name, path]
    }),
  )
}

/** Where each disk that is wanted goes, of those that the point has. */
export const targetsOf = ({ way, folder, to }: Wish, point: Point, zone: string): ReadonlyMap<string, string> => {
  if (way === 'whole') return folder === null ? new Map() : allIn(folder, point, zone)
  return new Map(point.disks.flatMap(({ name }) => (to.has(name) ? [[name, to.get(name)!]] : [])))
}
