// Reads a tenant's tree nodes and checks each: that it is what the index says, its id, its shape and its level.
import { equalBytes } from '../../protocol/chunk.ts'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { decodeNode, nodeKey, type TreeNode } from '../../protocol/image-tree.ts'
import { ownBytes } from '../../protocol/host/bytes.ts'
import { ownDamage } from '../packs/damage.ts'
import { keyedHash } from '../../protocol/host/keyed-hash.ts'
import { RECORD } from '../packs/format.ts'
import { checkFetched, damagedRecord, type FetchedRecord, type RecordReader } from '../packs/record-reader.ts'
import type { NodeCache } from './node-cache.ts'

/**
 * Nodes of one level, or of any where that is null, in the order asked: each checked, or the DATA_DAMAGED that it is, of which
 * `damageOf` tells. PARAMS_INVALID past IDS_MAX ids; STORE_FAILED.
 */
export type ReadNodes = (ids: readonly Uint8Array[], level: number | null) => Promise<(TreeNode | VarveError)[]>

/** Whose nodes they are. */
interface NodeOwner {
  readonly id: string
  readonly idKey: Uint8Array
}

export class NodeReader {
  readonly #tenant: NodeOwner
  readonly #records: RecordReader
  readonly #cache: NodeCache | null
  readonly #key: Uint8Array

  constructor(options: { tenant: NodeOwner; records: RecordReader; cache?: NodeCache }) {
    this.#tenant = options.tenant
    this.#records = options.records
    this.#cache = options.cache ?? null
    this.#key = nodeKey(keyedHash, options.tenant.idKey)
  }

  /** Reads them from their packs, whatever the cache has. */
  readonly fresh: ReadNodes = async (ids, level) => {
    if (ids.length === 0) return []
    const fetched = await this.#records.fetch(ids)
    return fetched.map((one, index) => this.#checked(ids[index]!, one, level))
  }

  /** Takes them from the cache where it has them. */
  readonly cached: ReadNodes = async (ids, level) => {
    const tenant = this.#tenant.id
    const known = ids.map((id) => {
      const node = this.#cache?.get(tenant, id)
      return level === null || node?.level === level ? node : undefined
    })
    const read = await this.fresh(
      ids.filter((_, index) => known[index] === undefined),
      level,
    )
    let next = 0
    return known.map((node, index) => {
      if (node !== undefined) return node
      const found = read[next++]!
      if (!(found instanceof VarveError)) this.#cache?.set(tenant, ownBytes(ids[index]!), found)
      return found
    })
  }

  #checked(id: Uint8Array, fetched: FetchedRecord | VarveError, level: number | null): TreeNode | VarveError {
    try {
      if (fetched instanceof VarveError) throw fetched
      const { location } = fetched
      const { type, stored } = checkFetched(fetched)
      const wrong = (why: string, cause?: unknown): VarveError => damagedRecord(id, why, { location, cause })
      if (type !== RECORD.node) throw wrong('it is not a tree node')
      if (!equalBytes(keyedHash(this.#key, stored), id)) throw wrong('its content has another id')
      const node = decoded(stored, wrong)
      if (level === null || node.level === level) return node
      throw wrong(`it has level ${node.level}, not ${level}`)
    } catch (thrown) {
      const error = asVarveError(thrown)
      if (error.code === 'DATA_DAMAGED') return asNode(error)
      throw error
    }
  }
}

/** The node of a copy of these bytes, so that a node that is kept does not hold the buffer of a whole read. */
const decoded = (stored: Uint8Array, wrong: (why: string, cause: unknown) => VarveError): TreeNode => {
  try {
    return decodeNode(ownBytes(stored))
  } catch (error) {
    throw wrong(asVarveError(error).message, error)
  }
}

/** The error with the type of record that an index without the record cannot tell. */
const asNode = (error: VarveError): VarveError =>
  ownDamage(
    new VarveError('DATA_DAMAGED', error.message, { details: { type: RECORD.node, ...error.details }, cause: error }),
  )
