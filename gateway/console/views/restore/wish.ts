// What a person wants restored, as the address has it: a point, disks with their places, and who writes them. Pure.
import type { Point } from '../../../../protocol/schemas.ts'
import { dayText } from '../../parts/format.ts'

/** Before a disk's name, in the address. */
const TO = 'to:'

/** The place of a disk that is to be restored, while nobody has said where to. */
export const NOWHERE = '/'

export interface Wish {
  readonly machine: string | null
  readonly point: string | null
  readonly agent: string | null
  /** Paths by disk; a disk that is not there is not restored. */
  readonly to: ReadonlyMap<string, string>
}

export const wishOf = (query: Readonly<Record<string, string>>): Wish => ({
  machine: query['machine'] ?? null,
  point: query['point'] ?? null,
  agent: query['agent'] ?? null,
  to: new Map(
    Object.entries(query).flatMap(([name, value]) => (name.startsWith(TO) ? [[name.slice(TO.length), value]] : [])),
  ),
})

/** The change of the address that gives a disk its place, or takes it out for null. */
export const placed = (disk: string, path: string | null): Record<string, string | null> => ({ [`${TO}${disk}`]: path })

/** The change of the address that forgets all places. */
export const unplaced = ({ to }: Wish): Record<string, null> =>
  Object.fromEntries([...to.keys()].map((disk) => [`${TO}${disk}`, null]))

const safe = (text: string): string => text.replaceAll(/[^A-Za-z0-9._-]/gu, '_')

/** A path that is offered for a disk: its machine's name, the disk's and the day in a zone; none without a folder for it. */
export const offered = (folder: string | null, { machine, timeMs }: Point, disk: string, zone: string): string =>
  folder === null ? NOWHERE : `${folder.replace(/\/$/u, '')}/${machine}-${safe(disk)}-${dayText(timeMs, zone)}.qcow2`

const quoted = (text: string): string => (/^[\w./:=-]+$/u.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`)

/** The commands that do the same at the host, one for each disk. */
export const atHost = (point: string, disks: readonly { readonly disk: string; readonly to: string }[]): string =>
  disks
    .map(({ disk, to }) => `varve-agent restore ${point.slice(0, 8)} --disk ${quoted(disk)} --to ${quoted(to)}`)
    .join('\n')
