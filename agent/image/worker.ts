// A worker thread of an upload: works on its segments over an NBD connection of its own.
import { workerData } from 'node:worker_threads'
import { NbdClient } from '../nbd/client.ts'
import { Moved, serveThread } from '../../protocol/host/threads.ts'
import type { Hashed, Prepared, WorkerSetup } from './messages.ts'
import { SegmentReader } from './segment-reader.ts'
import type { ChunkRun } from './segments.ts'

const setup = workerData as WorkerSetup
const client = NbdClient.connect({ socketPath: setup.socketPath, exportName: setup.exportName, contexts: [] })
// a failure is reported by the first read
client.catch(() => {})

const reader = new SegmentReader({
  ...setup,
  readInto: async (offset, bytes) => await (await client).readInto(offset, bytes),
})

const close = async (): Promise<void> => {
  reader.clear()
  await client.then((nbd) => nbd.close()).catch(() => {})
}

const methods = {
  read: (number: number, runs: readonly ChunkRun[], hold: boolean): Promise<Hashed> => reader.read(number, runs, hold),
  prepare: async (number: number, picks: Uint8Array, proofKey: Uint8Array): Promise<Moved<Prepared>> => {
    const prepared = await reader.prepare(number, picks, proofKey)
    return new Moved(prepared, prepared.chunks === null ? [] : [prepared.chunks.stored.buffer])
  },
  drop: (number: number): void => reader.drop(number),
}
export type ImageMethods = typeof methods

serveThread(methods, { close })
