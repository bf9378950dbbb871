// The packs as a rebuild reads them: first for the tenants' states, then for every record and manifest.
import { equalBytes, hex } from '../../protocol/chunk.ts'
import { plainLengthOf } from '../../protocol/chunk-list.ts'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { nodeKey } from '../../protocol/image-tree.ts'
import type { BuiltTenant, CatalogBuilder, PlacedRecord } from '../catalog/sqlite/catalog-builder.ts'
import {
  fitsPack,
  PACK_BYTES_MAX,
  PACK_HEADER_BYTES,
  parseRecord,
  RECORD,
  recordBytes,
  type PackKind,
} from '../packs/format.ts'
import { eachFact, keyOf, type AnyRow } from '../catalog/facts.ts'
import { keyedHash } from '../../protocol/host/keyed-hash.ts'
import { decodeManifest, manifestKey, type Manifest } from '../catalog/manifest.ts'
import { misplacedText, readAnyHeader, scanPack, type PackRecord, type ScanOptions } from '../packs/pack-scan.ts'
import type { PackName, Packs } from '../packs/pack-store.ts'
import { decodeState, joinParts, stateKey, type StatePart, type TenantState } from '../catalog/state-record.ts'
import { decode, splitParts } from '../../protocol/host/chunk-steps.ts'
import type { RebuildReport } from './rebuild-report.ts'

/** Records that go into the index in one transaction. */
const BATCH_RECORDS = 10_000

/** States of one tenant that are kept while packs are read: the newest, and one to fall back on where that is not whole. */
const STATES_KEPT = 2

/** A pack as it was found. */
export interface FoundPack {
  readonly name: PackName
  /** Length in bytes. */
  readonly bytes: number
  /** Null where the header is damaged: then every record of it is looked at twice. */
  readonly kind: PackKind | null
  /** True where its header is that of another pack: likewise. */
  readonly misplaced: boolean
}

export interface FoundState {
  readonly state: TenantState
  readonly complete: boolean
  /** Ids of its parts in order. */
  readonly ids: readonly Uint8Array[]
}

export interface ScanContext {
  readonly store: Packs
  readonly report: RebuildReport
  readonly signal: AbortSignal
}

const unreadable = (report: RebuildReport, { tenant, pack }: PackName, problem: string): void =>
  report.unreadable.add({ tenant, pack, offset: 0, length: null, problem })

/**
 * Every pack that this program can read, the largest first, so that the last ones to be read are short; the others are in the
 * report.
 */
export const findPacks = async ({ store, report, signal }: ScanContext): Promise<FoundPack[]> => {
  const packs: FoundPack[] = []
  for await (const entry of store.list()) {
    signal.throwIfAborted()
    if (!('name' in entry)) {
      report.unknownFiles.add(entry.unknown)
      continue
    }
    const { name } = entry
    try {
      const bytes = Math.min((await store.size(name)) ?? 0, PACK_BYTES_MAX)
      packs.push({ name, bytes, ...(await kindOf(store, name, report)) })
    } catch (thrown) {
      const error = asVarveError(thrown)
      if (error.code === 'STORE_VERSION') report.unknownFiles.add(`${name.tenant}/${name.pack}: ${error.message}`)
      else unreadable(report, name, error.message)
    }
  }
  return packs.sort((a, b) => b.bytes - a.bytes)
}

/**
 * Without a header a pack is read from its first byte; one of another pack says of which kind the records are, and each of them
 * must prove itself.
 */
const kindOf = async (
  store: Packs,
  name: PackName,
  report: RebuildReport,
): Promise<Pick<FoundPack, 'kind' | 'misplaced'>> => {
  try {
    const header = await readAnyHeader(store, name)
    const text = misplacedText(header, name)
    if (text !== null) report.remarks.add(`pack ${name.pack}: ${text}`)
    return { kind: header.kind, misplaced: text !== null }
  } catch (thrown) {
    if (asVarveError(thrown).code === 'STORE_VERSION') throw thrown
    return { kind: null, misplaced: false }
  }
}

const plainOf = ({ header, bytes }: PackRecord): Uint8Array =>
  decode(header.codec, parseRecord(bytes, 0).stored, plainLengthOf(header.parts))

/** Of a record that is not of chunks. */
const idOf = ({ header }: PackRecord): Uint8Array => header.parts[0]!.id

const scanOf = (kind: PackKind | null, signal: AbortSignal): ScanOptions => ({
  ...(kind === null ? { from: 0 } : {}),
  signal,
  skipUnreadable: true,
})

/** Runs `work` over the packs, two at a time. */
export const eachPack = async (
  packs: readonly FoundPack[],
  work: (pack: FoundPack) => Promise<void>,
): Promise<void> => {
  let next = 0
  const worker = async (): Promise<void> => {
    for (let pack = packs[next++]; pack !== undefined; pack = packs[next++]) await work(pack)
  }
  await Promise.all([worker(), worker()])
}

type Candidate = { readonly part: StatePart; readonly id: Uint8Array }

const newerFirst = ([a]: readonly Candidate[], [b]: readonly Candidate[]): number =>
  b!.part.seq - a!.part.seq || b!.part.timeMs - a!.part.timeMs

/** The newest state of each tenant by its uuid; if that is not whole, completed from an older one. */
export const findStates = async (
  context: ScanContext,
  packs: readonly FoundPack[],
  onProgress: (bytes: number) => void,
): Promise<Map<string, FoundState>> => {
  const { store, signal, report } = context
  const byTenant = new Map<string, Candidate[][]>()
  const take = (tenant: string, candidate: Candidate): void => {
    const kept = byTenant.get(tenant) ?? []
    const { seq, timeMs } = candidate.part
    const same = kept.find(([first]) => first!.part.seq === seq && first!.part.timeMs === timeMs)
    if (same === undefined) kept.push([candidate])
    else same.push(candidate)
    byTenant.set(tenant, kept.sort(newerFirst).slice(0, STATES_KEPT))
  }
  await eachPack(packs, async ({ name, bytes, kind }) => {
    if (kind === 'data') return
    for await (const record of scanPack(store, name, scanOf(kind, signal))) {
      if (!('header' in record) || record.header.type !== RECORD.state) continue
      try {
        const part = decodeState(plainOf(record), idOf(record))
        if (part.tenant.uuid === name.tenant) take(name.tenant, { part, id: idOf(record) })
      } catch (thrown) {
        const error = asVarveError(thrown)
        if (error.code === 'STORE_VERSION') throw error
        const { tenant, pack } = name
        const length = record.bytes.length
        report.unreadable.add({ tenant, pack, offset: record.offset, length, problem: error.message })
      }
    }
    onProgress(bytes)
  })
  return new Map([...byTenant].map(([tenant, [newest, older]]) => [tenant, stateOf(newest!, older ?? [])]))
}

/** The items of `now`, and those of `then` whose key `now` does not have. */
const merge = <T>(now: readonly T[], then: readonly T[], key: (item: T) => string): T[] => {
  const known = new Set(now.map(key))
  return [...now, ...then.filter((item) => !known.has(key(item)))]
}

const stateOf = (newest: readonly Candidate[], older: readonly Candidate[]): FoundState => {
  const { state, complete } = joinParts(newest.map(({ part }) => part))
  const ids = [...new Map(newest.map(({ part, id }) => [part.part, id]))].sort(([a], [b]) => a - b).map(([, id]) => id)
  if (complete || older.length === 0) return { state, complete, ids }
  const { state: before } = joinParts(older.map(({ part }) => part))
  const merged = {
    ...state,
    ...eachFact((fact) => merge<AnyRow>(state[fact], before[fact], (row) => keyOf(fact, row))),
    points: merge(state.points, before.points, ({ id }) => id),
  }
  return { state: merged, complete, ids }
}

/** A tenant whose packs are indexed. */
export interface ScannedTenant {
  readonly tenant: BuiltTenant
  /** Places (`<pack> <offset>`) of records that turned out to be damaged before. */
  readonly suspects: ReadonlySet<string>
  readonly onManifest: (id: Uint8Array, manifest: Manifest) => void
}

interface BadParts {
  readonly problem: string
  readonly places: ReadonlySet<number>
}

/** Adds one pack and all its whole records to the index, and passes its manifests on. */
export class PackIndexer {
  readonly #context: ScanContext
  readonly #builder: CatalogBuilder
  readonly #nowMs: number

  constructor(context: ScanContext, builder: CatalogBuilder, nowMs: number) {
    this.#context = context
    this.#builder = builder
    this.#nowMs = nowMs
  }

  async index({ name, bytes, kind, misplaced }: FoundPack, scanned: ScannedTenant): Promise<void> {
    const { store, signal, report } = this.#context
    const { tenant, suspects } = scanned
    let id: number | null = null
    let end = PACK_HEADER_BYTES
    let batch: PlacedRecord[] = []
    const flush = (kindNow: PackKind): number => {
      id ??= this.#builder.addPack(tenant, { kind: kindNow, uuid: name.pack, nowMs: this.#nowMs })
      const added = this.#builder.addRecords(tenant, id, batch)
      report.records += added
      report.duplicates += batch.length - added
      batch = []
      return id
    }
    let guessed: PackKind = kind ?? 'data'
    const gaps: { offset: number; length: number }[] = []
    for await (const record of scanPack(store, name, scanOf(kind, signal))) {
      const { offset } = record
      if (!('header' in record)) {
        report.unreadable.add({ ...name, ...record })
        gaps.push({ offset, length: record.length })
        continue
      }
      const { header } = record
      const bad = this.#badOf(record, kind, tenant, misplaced || suspects.has(`${name.pack} ${offset}`))
      if (bad !== null) {
        report.unreadable.add({ ...name, offset, length: record.bytes.length, problem: bad.problem })
        gaps.push({ offset, length: record.bytes.length })
        if (bad.places.size === header.parts.length) continue
      }
      if (kind === null && header.type !== RECORD.chunk) guessed = 'nodes'
      if (header.type === RECORD.manifest && !this.#manifest(record, name, scanned)) {
        gaps.push({ offset, length: record.bytes.length })
        continue
      }
      const { type, codec, storedLength, parts } = header
      end = offset + recordBytes(storedLength, parts.length)
      for (const [place, { id: part, plainLength }] of parts.entries()) {
        if (bad?.places.has(place) === true) continue
        batch.push({ id: part, type, codec, storedLength, plainLength, parts: parts.length, place, offset })
      }
      if (batch.length >= BATCH_RECORDS) flush(guessed)
    }
    this.#builder.setPackBytes(flush(guessed), end)
    report.read.set(name.pack, { bytes, gaps })
    report.packs++
    report.bytes += bytes
  }

  /** The parts of a whole record that cannot be relied on; null where all can. */
  #badOf(record: PackRecord, kind: PackKind | null, tenant: BuiltTenant, suspect: boolean): BadParts | null {
    const { header, found } = record
    const all = new Set(header.parts.keys())
    if (kind !== null && !fitsPack(kind, header.type))
      return { problem: 'a record is in a pack of another kind', places: all }
    if (!suspect && !found && kind !== null) return null
    const keys = {
      [RECORD.chunk]: () => tenant.idKey,
      [RECORD.node]: () => nodeKey(keyedHash, tenant.idKey),
      [RECORD.manifest]: () => manifestKey(tenant.idKey),
      [RECORD.state]: () => stateKey(tenant.idKey),
    }
    try {
      const key = keys[header.type]()
      const plains = splitParts(header.parts, plainOf(record))
      const wrong = [...all].filter((place) => !equalBytes(keyedHash(key, plains[place]!), header.parts[place]!.id))
      const [first] = wrong
      if (first === undefined) return null
      const problem = `the content of record ${hex(header.parts[first]!.id)} has another id`
      return { problem, places: new Set(wrong) }
    } catch (error) {
      return { problem: asVarveError(error).message, places: all }
    }
  }

  #manifest(record: PackRecord, name: PackName, { tenant, onManifest }: ScannedTenant): boolean {
    const id = idOf(record)
    try {
      const plain = plainOf(record)
      if (!equalBytes(keyedHash(manifestKey(tenant.idKey), plain), id))
        throw new VarveError('DATA_DAMAGED', 'the content of a manifest has another id')
      onManifest(id, decodeManifest(plain))
      return true
    } catch (thrown) {
      const error = asVarveError(thrown)
      if (error.code === 'STORE_FULL' || error.code === 'STORE_FAILED') throw error
      const length = record.bytes.length
      this.#context.report.unreadable.add({ ...name, offset: record.offset, length, problem: error.message })
      return false
    }
  }
}
