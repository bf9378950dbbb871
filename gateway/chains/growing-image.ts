// The image of one upload while it grows: runs whose chunks are there get places in its tree, and commits make them durable.
import type { UploadRow } from '../catalog/jobs.ts'
import { chunkCount, ID_BYTES, type KeyedHash } from '../../protocol/chunk.ts'
import type { Ref } from '../../protocol/image-tree.ts'
import { RUN } from '../../protocol/methods.ts'
import type { UploadWriter } from '../datastore/upload-writer.ts'
import { runsOf, type RunBatch } from './backlog.ts'
import type { BaseImage } from './base-image.ts'
import { ImageBuilder } from './image-builder.ts'

/** It goes on where the upload's row says. */
export class GrowingImage {
  readonly #writer: Pick<UploadWriter, 'addNodes' | 'commit'>
  readonly #tree: ImageBuilder
  readonly #size: number
  readonly #chunkBytes: number
  #changedBytes: number
  #committedPosition: number
  #uncommittedBytes = 0

  constructor(options: {
    upload: Pick<UploadRow, 'kind' | 'size' | 'state' | 'changedBytes'>
    writer: Pick<UploadWriter, 'addNodes' | 'commit'>
    idKey: Uint8Array
    chunkBytes: number
    hash: KeyedHash
    /** An incremental one may keep chunks of it. */
    base: Pick<BaseImage, 'childrenAt'> | null
  }) {
    const { upload, writer, idKey, chunkBytes, hash, base } = options
    this.#writer = writer
    this.#size = upload.size
    this.#chunkBytes = chunkBytes
    this.#changedBytes = upload.changedBytes
    this.#tree = new ImageBuilder({
      chunks: chunkCount(upload.size, chunkBytes),
      idKey,
      hash,
      state: upload.state,
      base:
        base !== null && upload.kind === 'incremental' ? (level, at, most) => base.childrenAt(level, at, most) : null,
      onNode: (node) => {
        writer.addNodes([node])
        this.#uncommittedBytes += node.bytes.length
      },
    })
    this.#committedPosition = this.#tree.position
  }

  /** The chunk that is placed next. */
  get position(): number {
    return this.#tree.position
  }

  /** Whether something is in the tree that is not durable. */
  get progressed(): boolean {
    return this.#tree.position > this.#committedPosition
  }

  /** Bytes of chunks and nodes that were stored since the last commit began. */
  get uncommittedBytes(): number {
    return this.#uncommittedBytes
  }

  /** Notes that the writer has stored so many bytes of chunks. */
  stored(bytes: number): void {
    this.#uncommittedBytes += bytes
  }

  /** Places the runs of a batch, whose chunks are all there. UPLOAD_INVALID, DATA_DAMAGED in the base. */
  async place(batch: RunBatch): Promise<void> {
    for (const { kind, count, ids } of runsOf(batch)) {
      const before = this.#tree.position
      if (kind === RUN.zero) this.#tree.zeroes(count)
      else if (ids === null) await this.#tree.keep(count)
      else for (let at = 0; at < ids.length; at += ID_BYTES) this.#tree.chunk(ids.subarray(at, at + ID_BYTES))
      if (kind !== RUN.keep) this.#changedBytes += (this.#tree.position - before) * this.#chunkBytes
    }
  }

  /** The root; IMAGE_INCOMPLETE unless every chunk was placed. */
  finish(): Ref {
    return this.#tree.finish()
  }

  /** Makes durable what is in the tree when it is called; with `finished` the whole image, which has this root. */
  async commit(bytesSent: number, finished: { readonly root: Ref } | null): Promise<void> {
    this.#uncommittedBytes = 0
    const { position, state } = this.#tree
    await this.#writer.commit({
      position,
      state,
      bytesSent,
      changedBytes: Math.min(this.#changedBytes, this.#size),
      finished: finished !== null,
      root: finished?.root ?? null,
    })
    this.#committedPosition = position
  }
}
