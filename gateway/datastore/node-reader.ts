// Reads tree nodes from packs: checksum, id and form are checked, and what is damaged says that it is a node.
import { equalBytes } from '../../protocol/chunk.ts'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { decodeNode, nodeKey, type TreeNode } from '../../protocol/image-tree.ts'
import { ownBytes } from './bytes.ts'
import { ownDamage } from './damage.ts'
import { RECORD } from './format.ts'
import { keyedHash } from './keyed-hash.ts'
import { checkFetched, damagedRecord, type FetchedRecord, type RecordReader } from './record-reader.ts'

/** The error with the type of record that an index without the record cannot tell. */
const asNode = (error: VarveError): VarveError =>
  ownDamage(
    new VarveError('DATA_DAMAGED', error.message, { details: { type: RECORD.node, ...error.details }, cause: error }),
  )

export class NodeReader {
  readonly #reader: RecordReader
  readonly #key: Uint8Array

  constructor(reader: RecordReader, idKey: Uint8Array) {
    this.#reader = reader
    this.#key = nodeKey(keyedHash, idKey)
  }

  /** Each of these nodes of one level in the order asked, or the DATA_DAMAGED that it is; null takes any level. PARAMS_INVALID, STORE_FAILED as RecordReader.fetch. */
  async read(ids: readonly Uint8Array[], level: number | null): Promise<(TreeNode | VarveError)[]> {
    return (await this.#reader.fetch(ids)).map((fetched) => {
      try {
        if (fetched instanceof VarveError) throw fetched
        return this.#check(fetched, level)
      } catch (thrown) {
        const error = asVarveError(thrown)
        if (error.code !== 'DATA_DAMAGED') throw error
        return asNode(error)
      }
    })
  }

  #check(fetched: FetchedRecord, level: number | null): TreeNode {
    const { id, location } = fetched
    const { type, stored } = checkFetched(fetched)
    if (type !== RECORD.node) throw damagedRecord(id, 'it is not a tree node', { location })
    if (!equalBytes(keyedHash(this.#key, stored), id))
      throw damagedRecord(id, 'its content has another id', { location })
    try {
      // a copy, so that a node that is kept does not hold the buffer of a whole read
      const node = decodeNode(ownBytes(stored))
      if (level === null || node.level === level) return node
      throw new VarveError('DATA_DAMAGED', `it has level ${node.level}, not ${level}`)
    } catch (error) {
      throw damagedRecord(id, asVarveError(error).message, { location, cause: error })
    }
  }
}
