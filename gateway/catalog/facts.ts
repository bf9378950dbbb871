// What packs must know of a tenant: one entry for each fact, which its record, the rebuild and the copy of a catalog that is
// replaced follow.
import * as v from 'valibot'
import { ID_KEY_BYTES, isChunkBytes } from '../../protocol/chunk.ts'
import { planName } from '../../protocol/plans.ts'
import { count, name, timeMs, uuid } from '../../protocol/schemas.ts'

/** Fields of a row in the order in which they are written, each with its column and the values that it may have. */
export type Fields = Readonly<Record<string, readonly [column: string, schema: v.GenericSchema]>>

type Row<F extends Fields> = { readonly [K in keyof F]: v.InferOutput<F[K][1]> }

interface Fact<F extends Fields, K = keyof F> {
  /** What a person calls one of them. */
  readonly one: string
  readonly table: string
  /** A field `row` is the row's number in the catalog: it is given again where it is free. */
  readonly fields: F
  /** Columns in whose order the rows are written. */
  readonly order: string
  /** Fields that tell rows apart: those of a tenant, or of all tenants where that is said. */
  readonly key: readonly K[]
  readonly acrossTenants: boolean
  /** True where what the newest source does not name is gone. */
  readonly removable: boolean
  /** Fields of which the newest source is right; of all others the first. */
  readonly changing: readonly K[]
  /** Fields that stay set, whoever says so. */
  readonly lasting: readonly K[]
  /** A field that names a row of another fact, without which this one is left out. */
  readonly needs: readonly [field: K, fact: string] | null
}

const fact = <const F extends Fields>(
  entry: Pick<Fact<F>, 'one' | 'table' | 'fields' | 'order' | 'key'> & Partial<Fact<F>>,
): Fact<F> => ({ acrossTenants: false, removable: false, changing: [], lasting: [], needs: null, ...entry })

const text = v.pipe(v.string(), v.maxLength(65_536))
/** A plan names very many machines at most. */
const planText = v.pipe(v.string(), v.maxLength(2 * 1024 * 1024))
const agentId = v.pipe(v.string(), v.minLength(1), v.maxLength(255))
const rowNumber = v.pipe(count, v.minValue(1))

/** The facts, each behind those that it needs. */
export const FACTS = {
  agents: fact({
    one: 'agent',
    table: 'agent',
    fields: {
      id: ['id', agentId],
      host: ['host', text],
      publicKey: ['public_key', text],
      enrolledMs: ['enrolled_ms', timeMs],
      revokedMs: ['revoked_ms', v.nullable(timeMs)],
      site: ['site', v.nullable(name)],
    },
    order: 'id',
    key: ['id'],
    acrossTenants: true,
    changing: ['site'],
    lasting: ['revokedMs'],
  }),
  machines: fact({
    one: 'machine',
    table: 'machine',
    fields: {
      row: ['id', rowNumber],
      name: ['name', name],
      agent: ['agent', agentId],
      group: ['member_of', v.nullable(name)],
      createdMs: ['created_ms', timeMs],
      uuid: ['uuid', v.nullable(uuid)],
    },
    order: 'id',
    key: ['name'],
    changing: ['agent', 'group', 'uuid'],
    needs: ['agent', 'agents'],
  }),
  plans: fact({
    one: 'plan',
    table: 'plan',
    fields: { name: ['name', planName], rules: ['rules', planText] },
    order: 'name',
    key: ['name'],
    removable: true,
  }),
  exclusions: fact({
    one: 'exclusion',
    table: 'exclusion',
    fields: {
      machine: ['machine', name],
      by: ['subject', text],
      reason: ['reason', text],
      sinceMs: ['since_ms', timeMs],
      untilMs: ['until_ms', v.nullable(timeMs)],
    },
    order: 'machine',
    key: ['machine'],
    removable: true,
  }),
  missed: fact({
    one: 'disk whose bitmap has missed changes',
    table: 'missed',
    fields: { point: ['point', uuid], disk: ['disk', text] },
    order: 'point, disk',
    key: ['point', 'disk'],
  }),
} as const

export type FactName = keyof typeof FACTS
export type FactRow<N extends FactName> = Row<(typeof FACTS)[N]['fields']>

/** A row of any fact. */
export type AnyRow = FactRow<FactName>

/** All facts of a tenant. */
export type Facts = { readonly [N in FactName]: readonly FactRow<N>[] }

export const FACT_NAMES = Object.keys(FACTS) as readonly FactName[]

/** An entry as those see it who treat all alike. */
type AnyFact = Omit<Fact<Fields, string>, 'needs'> & { readonly needs: readonly [field: string, fact: FactName] | null }

export const factOf = (fact: FactName): AnyFact => FACTS[fact] as unknown as AnyFact

/** One list for each fact. */
export const eachFact = (rows: (fact: FactName) => readonly AnyRow[]): Facts =>
  Object.fromEntries(FACT_NAMES.map((fact) => [fact, rows(fact)])) as unknown as Facts

/** What tells a row of a fact from others. */
export const keyOf = (fact: FactName, row: AnyRow): string =>
  JSON.stringify(factOf(fact).key.map((field) => (row as Readonly<Record<string, unknown>>)[field]))

/** Who the tenant itself is. */
export const TENANT_FIELDS = {
  row: ['id', rowNumber],
  uuid: ['uuid', uuid],
  name: ['name', name],
  /** Bytes in a catalog. */
  idKey: ['id_key', v.pipe(v.string(), v.regex(new RegExp(`^[0-9a-f]{${ID_KEY_BYTES * 2}}$`, 'u'), 'not a key'))],
  chunkBytes: ['chunk_bytes', v.pipe(v.number(), v.check(isChunkBytes, 'not a chunk size'))],
  createdMs: ['created_ms', timeMs],
  quotaSoftBytes: ['quota_soft', v.nullable(count)],
  quotaHardBytes: ['quota_hard', v.nullable(count)],
} as const satisfies Fields

/** The schema of a row. */
export const rowSchema = <const F extends Fields>(fields: F): v.GenericSchema<unknown, Row<F>> =>
  v.object(Object.fromEntries(Object.entries(fields).map(([field, [, schema]]) => [field, schema]))) as never

/** Schemas of the lists of a record. */
export const factLists = Object.fromEntries(
  FACT_NAMES.map((fact) => [fact, v.array(rowSchema(factOf(fact).fields))]),
) as unknown as { readonly [N in FactName]: v.GenericSchema<unknown, FactRow<N>[]> }
