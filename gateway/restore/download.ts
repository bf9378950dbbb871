// Streams one image of a restore point in order: zero runs and stored chunks, read one step ahead of what is being sent.
import type { AttachmentRow } from '../catalog/points.ts'
import { bundleParts, chunkCount } from '../../protocol/chunk.ts'
import { VarveError } from '../../protocol/errors.ts'
import { FRAME_BYTES_MAX, FRAME_CHUNKS_MAX } from '../../protocol/limits.ts'
import { freeBytes } from '../../protocol/memory.ts'
import { LOAD, type Down } from '../../protocol/methods.ts'
import type { TenantStore } from '../datastore/tenant-store.ts'
import { leaves } from '../trees/leaves.ts'

type Message = Down<'image.download'>

/** Plain bytes of the chunks in one message. */
const MESSAGE_PLAIN_BYTES = 4 * 1024 * 1024

interface Download {
  readonly store: TenantStore
  readonly image: Pick<AttachmentRow, 'size' | 'root'>
  readonly chunkBytes: number
  readonly idKey: Uint8Array
  /** First chunk to send; a resumed restore begins where it was cut. */
  readonly position: number
  /** Reports unreadable ranges as lost; otherwise they end the download. */
  readonly skipDamaged?: boolean
}

/** The next pieces to read, in order. */
type Read = () => Promise<readonly Message[]>

async function* reads(download: Download): AsyncGenerator<Read> {
  const { store, image, chunkBytes, idKey, position, skipDamaged = false } = download
  const chunks = chunkCount(image.size, chunkBytes)
  if (position > chunks) throw new VarveError('PARAMS_INVALID', `the image has ${chunks} chunks`)
  const { size, root } = image
  yield async () => [[LOAD.start, { size, chunkBytes, root, idKey, position }]]
  const perMessage = Math.max(
    1,
    Math.min(FRAME_CHUNKS_MAX, MESSAGE_PLAIN_BYTES / chunkBytes, Math.floor(FRAME_BYTES_MAX / (chunkBytes + 64))),
  )
  // what is stored together begins at a multiple of it, and is sent as it is where one message has all of it
  const together = bundleParts(chunkBytes)
  const load = skipDamaged ? loadAround : loadAll
  const onDamaged = async (error: VarveError): Promise<void> => void (await store.quarantine.enterError(error))
  const around = { from: position, onDamaged: skipDamaged ? onDamaged : null }
  let waiting: Uint8Array[] = []
  for await (const run of leaves(store.nodes.cached, root, chunks, around)) {
    if (run.ids === null) {
      if (waiting.length > 0) yield load(store, waiting)
      waiting = []
      yield async () => [[run.lost === true ? LOAD.lost : LOAD.zero, run.count]]
      continue
    }
    for (const [index, id] of run.ids.entries()) {
      const fresh = (run.position + index) % together === 0
      if (waiting.length > 0 && waiting.length + (fresh ? together : 1) > perMessage) {
        yield load(store, waiting)
        waiting = []
      }
      waiting.push(id)
    }
  }
  if (waiting.length > 0) yield load(store, waiting)
}

const loadAll =
  (store: TenantStore, ids: Uint8Array[]): Read =>
  async () => {
    const { heads, stored } = await store.readStored(ids)
    return [[LOAD.chunks, heads, stored]]
  }

const loadAround =
  (store: TenantStore, ids: Uint8Array[]): Read =>
  async () => {
    const bad = await store.badRecords(ids)
    if (bad.size === 0) return await loadAll(store, ids)()
    for (const error of bad.values()) await store.quarantine.enterError(error)
    // runs of good and of lost chunks, in order
    const messages: Message[] = []
    for (let from = 0, to = 0; from < ids.length; from = to) {
      const lost = bad.has(from)
      while (to < ids.length && bad.has(to) === lost) to++
      if (lost) messages.push([LOAD.lost, to - from])
      else messages.push(...(await loadAll(store, ids.slice(from, to))()))
    }
    return messages
  }

/** Sends the whole image from `position`; DATA_DAMAGED names what cannot be read. */
export const downloadImage = async (download: Download, send: (message: Message) => Promise<void>): Promise<void> => {
  const sendNext = async (messages: readonly Message[]): Promise<void> => {
    for (const message of messages) {
      const sent = send(message)
      // the frame owns them now
      if (message[0] === LOAD.chunks) freeBytes(message[2])
      await sent
    }
  }
  let next: Promise<readonly Message[]> | null = null
  for await (const read of reads(download)) {
    const messages = read()
    // a failure is raised when its turn comes
    messages.catch(() => {})
    if (next !== null) await sendNext(await next)
    next = messages
  }
  if (next !== null) await sendNext(await next)
}
