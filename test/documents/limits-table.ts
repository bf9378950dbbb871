// Every limit that a peer can meet, with its value and what its source says of it: the last section of METHODS.md.
import { readFileSync } from 'node:fs'
import path from 'node:path'
import * as auth from '../../gateway/auth/tokens.ts'
import * as refusals from '../../gateway/auth/audit.ts'
import * as backlog from '../../gateway/chains/backlog.ts'
import * as datastore from '../../gateway/datastore/datastore.ts'
import * as jobs from '../../gateway/jobs/backups.ts'
import * as watching from '../../gateway/jobs/watch.ts'
import * as maintenanceWork from '../../gateway/maintenance/maintenance.ts'
import * as http from '../../gateway/server/http.ts'
import * as revocations from '../../gateway/service/revocations.ts'
import * as looks from '../../gateway/service/status-looks.ts'
import * as registry from '../../gateway/session/registry.ts'
import * as chunkList from '../../protocol/chunk-list.ts'
import * as chunk from '../../protocol/chunk.ts'
import * as claims from '../../protocol/claims.ts'
import * as errors from '../../protocol/errors.ts'
import * as imageTree from '../../protocol/image-tree.ts'
import * as limits from '../../protocol/limits.ts'
import * as maintenance from '../../protocol/maintenance.ts'
import * as notify from '../../protocol/notify.ts'
import * as plans from '../../protocol/plans.ts'
import * as planMethods from '../../protocol/plan-methods.ts'
import * as retention from '../../protocol/retention.ts'
import * as schemas from '../../protocol/schemas.ts'
import * as views from '../../protocol/views.ts'
import { remarksOf } from './remarks.ts'

type Module = Readonly<Record<string, unknown>>

/** Files whose numbers are all limits of the wire. */
const PROTOCOL: Readonly<Record<string, Module>> = {
  'protocol/limits.ts': limits,
  'protocol/chunk.ts': chunk,
  'protocol/chunk-list.ts': chunkList,
  'protocol/image-tree.ts': imageTree,
  'protocol/claims.ts': claims,
  'protocol/errors.ts': errors,
  'protocol/schemas.ts': schemas,
  'protocol/views.ts': views,
  'protocol/plans.ts': plans,
  'protocol/plan-methods.ts': planMethods,
  'protocol/retention.ts': retention,
  'protocol/maintenance.ts': maintenance,
  'protocol/notify.ts': notify,
}

/** What the gateway enforces besides. */
const GATEWAY: Readonly<Record<string, Module>> = {
  'gateway/server/http.ts': http,
  'gateway/session/registry.ts': registry,
  'gateway/service/status-looks.ts': looks,
  'gateway/service/revocations.ts': revocations,
  'gateway/auth/tokens.ts': auth,
  'gateway/auth/audit.ts': refusals,
  'gateway/jobs/backups.ts': jobs,
  'gateway/jobs/watch.ts': watching,
  'gateway/chains/backlog.ts': backlog,
  'gateway/datastore/datastore.ts': datastore,
  'gateway/maintenance/maintenance.ts': maintenanceWork,
}

const root = path.resolve(import.meta.dirname, '../..')

export interface Limit {
  readonly name: string
  readonly value: number
  readonly remark: string
}

const SIZES = [
  [2 ** 40, 'TiB'],
  [2 ** 30, 'GiB'],
  [2 ** 20, 'MiB'],
  [2 ** 10, 'KiB'],
] as const

const TIMES = [
  [86_400_000, 'd'],
  [3_600_000, 'h'],
  [60_000, 'min'],
  [1000, 's'],
] as const

const inUnits = (value: number, units: readonly (readonly [number, string])[], smallest: string): string => {
  const [size, unit] = units.find(([one]) => value >= one && value % one === 0) ?? [1, smallest]
  return `${(value / size).toLocaleString('en-US')} ${unit}`
}

/** The value with its unit, which the name ends with. */
export const limitText = ({ name, value }: Pick<Limit, 'name' | 'value'>): string => {
  if (/_BYTES(?:_|$)/u.test(name)) return inUnits(value, SIZES, 'bytes')
  if (/_MS(?:_|$)/u.test(name)) return inUnits(value, TIMES, 'ms')
  if (/_S(?:_|$)/u.test(name)) return inUnits(value * 1000, TIMES, 'ms')
  return value.toLocaleString('en-US')
}

/** The limits of one file: its exported constants that are numbers. */
const limitsIn = ([file, module]: readonly [string, Module]): Limit[] => {
  const source = readFileSync(path.join(root, file), 'utf8')
  const remarks = remarksOf(source)
  const placeOf = ({ name }: Limit): number => source.indexOf(`const ${name} `)
  return Object.entries(module)
    .flatMap(([name, value]) =>
      typeof value === 'number' && /^[A-Z][A-Z\d_]*$/u.test(name)
        ? [{ name, value, remark: remarks.get(name) ?? '' }]
        : [],
    )
    .toSorted((one, other) => placeOf(one) - placeOf(other))
}

export const wireLimits = (): Limit[] => Object.entries(PROTOCOL).flatMap(limitsIn)
export const gatewayLimits = (): Limit[] => Object.entries(GATEWAY).flatMap(limitsIn)

/** A Markdown table of limits, in the order of their sources. */
export const limitsTable = (rows: readonly Limit[]): string =>
  [
    '| limit | value | is |',
    '| --- | --- | --- |',
    ...rows.map((row) => `| \`${row.name}\` | ${limitText(row)} | ${row.remark.replaceAll('|', '\\|')} |`),
  ].join('\n')
