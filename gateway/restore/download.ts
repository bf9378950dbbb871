// Streams one image of a restore point in order: zero runs and stored chunks, read one step ahead of what is being sent.
import { chunkCount } from '../../protocol/chunk.ts'
import { VarveError } from '../../protocol/errors.ts'
import { FRAME_BYTES_MAX, FRAME_CHUNKS_MAX } from '../../protocol/limits.ts'
import { freeBytes } from '../../protocol/memory.ts'
import { LOAD, type Down } from '../../protocol/methods.ts'
import type { ImageRow } from '../datastore/database/points.ts'
import type { TenantStore } from '../datastore/tenant-store.ts'
import { leaves } from '../datastore/tree.ts'

type Message = Down<'image.download'>

/** Plain bytes of the chunks in one message. */
const MESSAGE_PLAIN_BYTES = 4 * 1024 * 1024

interface Download {
  readonly store: TenantStore
  readonly image: ImageRow
  readonly chunkBytes: number
  readonly idKey: Uint8Array
  /** First chunk to send; a resumed restore begins where it was cut. */
  readonly position: number
}

async function* messages({
  store,
  image,
  chunkBytes,
  idKey,
  position,
}: Download): AsyncGenerator<() => Promise<Message>> {
  const chunks = chunkCount(image.size, chunkBytes)
  if (position > chunks) throw new VarveError('PARAMS_INVALID', `the image has ${chunks} chunks`)
  const { size, root } = image
  yield async () => [LOAD.start, { size, chunkBytes, root, idKey, position }]
  const perMessage = Math.max(
    1,
    Math.min(FRAME_CHUNKS_MAX, MESSAGE_PLAIN_BYTES / chunkBytes, Math.floor(FRAME_BYTES_MAX / (chunkBytes + 64))),
  )
  let waiting: Uint8Array[] = []
  for await (const run of leaves(store, root, chunks, position)) {
    if (run.ids === null) {
      if (waiting.length > 0) yield load(store, waiting)
      waiting = []
      yield async () => [LOAD.zero, run.count]
      continue
    }
    for (const id of run.ids) {
      waiting.push(id)
      if (waiting.length < perMessage) continue
      yield load(store, waiting)
      waiting = []
    }
  }
  if (waiting.length > 0) yield load(store, waiting)
}

const load = (store: TenantStore, ids: Uint8Array[]) => async (): Promise<Message> => {
  const { heads, stored } = await store.readStored(ids)
  return [LOAD.chunks, heads, stored]
}

/** Sends the whole image from `position`; DATA_DAMAGED names what cannot be read. */
export const downloadImage = async (download: Download, send: (message: Message) => Promise<void>): Promise<void> => {
  const sendNext = async (message: Message): Promise<void> => {
    const sent = send(message)
    // the frame has them now
    if (message[0] === LOAD.chunks) freeBytes(message[2])
    await sent
  }
  let next: Promise<Message> | null = null
  for await (const read of messages(download)) {
    const message = read()
    // a failure is met when its turn comes
    message.catch(() => {})
    if (next !== null) await sendNext(await next)
    next = message
  }
  if (next !== null) await sendNext(await next)
}
