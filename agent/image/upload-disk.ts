// Uploads one disk of a lease: read over NBD, whose scratch space goes as it is durable, or as QEMU writes it here.
import type { LeasedDisk, PushedContent } from '../drivers/driver.ts'
import { NbdClient } from '../nbd/client.ts'
import { Discards } from '../nbd/discards.ts'
import { ALLOCATION_CONTEXT, diskExtents, mapped } from '../nbd/extents.ts'
import { rereading } from '../nbd/reread.ts'
import { uploadSegments, type ExtentsFrom, type UploadOptions } from './upload.ts'
import { ImageWorkers } from './workers.ts'

/** Unchanged gaps that are asked about together with the changes around them, in bytes. */
export const BRIDGE_BYTES = 16 * 1024 * 1024

export interface UploadRequest extends UploadOptions {
  readonly disk: LeasedDisk
}

/** Uploads a disk that QEMU writes here, as far as it has, and tells what need not be kept any more. */
const uploadPushed = async (request: UploadRequest, disk: LeasedDisk, pushed: PushedContent): Promise<void> => {
  const { chunkBytes, idKey } = request
  const { size } = disk
  const setup = { spool: pushed.spool, size, chunkBytes, idKey }
  await using workers = new ImageWorkers(setup, { multiConn: true })
  const failed = new AbortController()
  const signal = AbortSignal.any([request.signal, failed.signal])
  const onDurable = (chunks: number): void => pushed.durable(Math.min(chunks * chunkBytes, size))
  const extents = pushed.extents(chunkBytes, signal)
  await uploadSegments({ ...request, onDurable, onFailed: () => failed.abort() }, disk, workers, () => extents)
  pushed.durable(size)
}

/** Uploads a disk from wherever the gateway has it durable; resolves when all of it is. */
export const uploadImage = async (request: UploadRequest): Promise<void> => {
  const { disk, chunkBytes, idKey } = request
  if (disk.pushed !== undefined) return await uploadPushed(request, disk, disk.pushed)
  const { socketPath, exportName, size, dirtyContext, boundaryBytes } = disk
  await using resources = new AsyncDisposableStack()
  const connect = async (contexts: string[]): Promise<NbdClient> =>
    resources.use(await NbdClient.connect({ socketPath, exportName, contexts }))
  const allocation = await connect([ALLOCATION_CONTEXT])
  const dirty =
    dirtyContext === null
      ? null
      : { client: rereading(await connect([dirtyContext]), dirtyContext, disk.reread), context: dirtyContext }
  const setup = { socketPath, exportName, size, chunkBytes, idKey, boundaryBytes }
  const workers = resources.use(new ImageWorkers(setup, { multiConn: allocation.flags.multiConn }))
  const bridgeBytes = disk.clips === true ? 0 : BRIDGE_BYTES
  const extentsFrom: ExtentsFrom = (position) =>
    diskExtents({ allocation: mapped(allocation, disk), dirty, size, bridgeBytes, fromBytes: position * chunkBytes })
  if (disk.discards !== true) return await uploadSegments(request, disk, workers, extentsFrom)
  const { compared: unchangedToo, discardBytes: pieceBytes } = disk
  const discards = new Discards(allocation, { pieceBytes, unchangedToo })
  const onDurable = (chunks: number): void => discards.upTo(Math.min(chunks * chunkBytes, size))
  const watched: ExtentsFrom = (position) => discards.watch(extentsFrom(position))
  try {
    await uploadSegments({ ...request, onDurable }, disk, workers, watched)
    discards.upTo(size)
  } finally {
    await discards.settled()
  }
}
