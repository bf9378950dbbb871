// The state of a tenant as records in the packs: who it is, its facts, and which restore points live.
import { zstdCompressSync } from 'node:zlib'
import * as v from 'valibot'
import { CODEC, fromHex, hex, type Codec } from '../../protocol/chunk.ts'
import { VarveError } from '../../protocol/errors.ts'
import { misfit } from '../../protocol/misfit.ts'
import { count, timeMs, uuid } from '../../protocol/schemas.ts'
import { eachFact, FACT_NAMES, factLists, rowSchema, TENANT_FIELDS, type AnyRow, type Facts } from './facts.ts'
import { RECORD_PLAIN_BYTES_MAX } from '../packs/format.ts'
import { keyedHash } from '../../protocol/host/keyed-hash.ts'
import { parseVersioned } from './manifest.ts'

const STATE_VERSION = 1

/** Most records that one state is split into: some 100 million restore points. */
const PARTS_MAX = 1024

/** Bytes of a part beside its lists. */
const PART_FRAME_BYTES = 4096

const stateNumber = v.pipe(count, v.minValue(1))

const partSchema = v.object({
  version: v.literal(STATE_VERSION),
  seq: stateNumber,
  timeMs,
  /** Index of this part, and how many there are. */
  part: count,
  parts: v.pipe(count, v.minValue(1), v.maxValue(PARTS_MAX)),
  /** The gateway's own uuid, by which its agents know it; null before it had one. */
  gateway: v.nullable(uuid),
  tenant: rowSchema(TENANT_FIELDS),
  ...factLists,
  /** Restore points; those that are held or locked with that. */
  points: v.array(v.union([uuid, v.tuple([uuid, v.boolean(), v.nullable(timeMs)])])),
  /** Backups under way: the manifest of such a one may be older than this state. */
  jobs: v.array(uuid),
})
type Part = v.InferOutput<typeof partSchema>

export interface StatePoint {
  readonly id: string
  readonly held: boolean
  readonly lockedUntilMs: number | null
}

/** Everything of one tenant that packs must know to build its catalog again; row ids are the catalog's. */
export interface TenantState extends Facts {
  /** Incremented with each state of the tenant. */
  readonly seq: number
  readonly timeMs: number
  readonly gateway: string | null
  readonly tenant: Part['tenant']
  readonly points: readonly StatePoint[]
  readonly jobs: readonly string[]
}

/** A part of a state as read from a record. */
export interface StatePart extends TenantState {
  readonly part: number
  readonly parts: number
}

/** A state's record before it is appended. */
export interface StateRecord {
  readonly id: Uint8Array
  readonly codec: Codec
  readonly plainLength: number
  readonly stored: Uint8Array
}

/** The key of state ids: a domain of its own beside chunks, tree nodes and manifests. */
export const stateKey = (idKey: Uint8Array): Uint8Array =>
  keyedHash(idKey, new TextEncoder().encode('varve tenant state v1'))

const LISTS = [...FACT_NAMES, 'points', 'jobs'] as const
type Lists = Record<(typeof LISTS)[number], string[]>

const emptyLists = (): Lists => Object.fromEntries(LISTS.map((list) => [list, []])) as unknown as Lists

/** The lists, each item as JSON, split so that no part is longer than `bytesMax`. */
const split = (state: TenantState, bytesMax: number): Lists[] => {
  const points = state.points.map(({ id, held, lockedUntilMs }) =>
    held || lockedUntilMs !== null ? [id, held, lockedUntilMs] : id,
  )
  const items = { ...state, points }
  const parts = [emptyLists()]
  let bytes = PART_FRAME_BYTES
  for (const list of LISTS) {
    for (const item of items[list]) {
      const json = JSON.stringify(item)
      const length = Buffer.byteLength(json) + 1
      if (bytes + length > bytesMax) {
        parts.push(emptyLists())
        bytes = PART_FRAME_BYTES
      }
      parts.at(-1)![list].push(json)
      bytes += length
    }
  }
  return parts
}

/** The records of a state, in order of their parts; each has at most `bytesMax` plain bytes. */
export const encodeState = (state: TenantState, bytesMax = RECORD_PLAIN_BYTES_MAX): StateRecord[] => {
  const parts = split(state, bytesMax)
  if (parts.length > PARTS_MAX) throw new VarveError('STORE_FAILED', 'the state of a tenant is too large')
  const { seq, timeMs, gateway, tenant } = state
  const key = stateKey(fromHex(tenant.idKey))
  return parts.map((lists, part) => {
    const head = JSON.stringify({ version: STATE_VERSION, seq, timeMs, part, parts: parts.length, gateway, tenant })
    const body = LISTS.map((list) => `"${list}":[${lists[list].join(',')}]`).join(',')
    const plain = new TextEncoder().encode(`${head.slice(0, -1)},${body}}`)
    const packed = zstdCompressSync(plain)
    const saves = packed.length < plain.length
    const codec = saves ? CODEC.zstd : CODEC.raw
    return { id: keyedHash(key, plain), codec, plainLength: plain.length, stored: saves ? packed : plain }
  })
}

/**
 * The part of these plain bytes, whose id is to be checked with the key in it; DATA_DAMAGED, or STORE_VERSION where a later
 * program wrote it.
 */
export const decodeState = (plain: Uint8Array, id: Uint8Array): StatePart => {
  const checked = v.safeParse(partSchema, parseVersioned(plain, STATE_VERSION, 'the state of a tenant'))
  if (!checked.success)
    throw new VarveError('DATA_DAMAGED', `the state of a tenant is malformed: ${misfit(partSchema, checked.issues)}`)
  const { version: _, points, ...part } = checked.output
  if (part.part >= part.parts || hex(keyedHash(stateKey(fromHex(part.tenant.idKey)), plain)) !== hex(id))
    throw new VarveError('DATA_DAMAGED', 'the state of a tenant is not what its id says')
  return {
    ...part,
    points: points.map((point) =>
      typeof point === 'string'
        ? { id: point, held: false, lockedUntilMs: null }
        : { id: point[0], held: point[1], lockedUntilMs: point[2] },
    ),
  }
}

/** Parts of one state as one; `complete` where none is missing. At least one part. */
export const joinParts = (parts: readonly StatePart[]): { state: TenantState; complete: boolean } => {
  const byIndex = new Map(parts.map((part) => [part.part, part]))
  const [first] = parts
  if (first === undefined) throw new VarveError('INTERNAL', 'a state has no part')
  const { seq, timeMs, gateway, tenant } = first
  const all = [...byIndex.values()].sort((a, b) => a.part - b.part)
  const state = {
    seq,
    timeMs,
    gateway,
    tenant,
    ...eachFact((fact) => all.flatMap<AnyRow>((part) => part[fact])),
    points: all.flatMap(({ points }) => points),
    jobs: all.flatMap(({ jobs }) => jobs),
  }
  return { state, complete: byIndex.size === first.parts }
}
