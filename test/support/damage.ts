// Ways to damage a datastore under a running gateway: finds a record by its id and writes into its pack, or removes the pack.
import { open, rm } from 'node:fs/promises'
import path from 'node:path'
import { keyedHash } from '../../protocol/host/keyed-hash.ts'
import { RECORD_HEADER_BYTES } from '../../gateway/packs/format.ts'
import { idKeyOf, indexedRecord } from './catalog-damage.ts'
import { nodeKey, TreeBuilder, type NewNode } from '../../protocol/image-tree.ts'

interface Place {
  readonly file: string
  readonly pack: string
  readonly offset: number
}

export class Damager {
  readonly #folder: string
  readonly #idKey: Uint8Array

  /** Of the data folder of a gateway, for one tenant. */
  constructor(folder: string, tenant = 'acme') {
    this.#folder = folder
    this.#idKey = idKeyOf(folder, tenant)
  }

  chunkId(plain: Uint8Array): Uint8Array {
    return keyedHash(this.#idKey, plain)
  }

  /** Every node of the tree over a disk, the root last. */
  nodesOf(disk: Buffer, chunkBytes = 64 * 1024): NewNode[] {
    const nodes: NewNode[] = []
    const builder = new TreeBuilder({
      chunks: Math.ceil(disk.length / chunkBytes),
      hash: keyedHash,
      nodeKey: nodeKey(keyedHash, this.#idKey),
      onNode: (node) => void nodes.push(node),
    })
    for (let at = 0; at < disk.length; at += chunkBytes) {
      const plain = disk.subarray(at, at + chunkBytes)
      builder.place(0, plain.some((byte) => byte !== 0) ? this.chunkId(plain) : null)
    }
    builder.finish()
    return nodes
  }

  /** Where the index has a record; throws where it has none. */
  place(id: Uint8Array): Place {
    const record = indexedRecord(this.#folder, id)
    if (record === undefined) throw new Error('the index does not have the record')
    const { pack, offset, tenantId } = record
    return { pack, offset, file: path.join(this.#folder, 'packs', tenantId, pack.slice(0, 2), `${pack}.pack`) }
  }

  /** Turns a bit of the record's stored bytes. */
  async flip(id: Uint8Array): Promise<Place> {
    const place = this.place(id)
    await using file = await open(place.file, 'r+')
    const at = place.offset + RECORD_HEADER_BYTES + 7
    const byte = Buffer.alloc(1)
    await file.read(byte, 0, 1, at)
    byte[0]! ^= 0x10
    await file.write(byte, 0, 1, at)
    return place
  }

  /** Adds to a pack what no record is, so that the next start of the gateway seals it. */
  async spoilEnd(id: Uint8Array): Promise<void> {
    await using file = await open(this.place(id).file, 'a')
    await file.write(Buffer.from('nothing'))
  }

  async removePack(id: Uint8Array): Promise<Place> {
    const place = this.place(id)
    await rm(place.file)
    return place
  }
}
