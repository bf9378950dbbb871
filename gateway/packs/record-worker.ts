// A record thread: runs one job after the other, moving buffers instead of copying them.
import { getPriority, setPriority } from 'node:os'
import { workerData } from 'node:worker_threads'
import { Moved, serveThread } from '../../protocol/host/threads.ts'
import { freeBuffer, freeBytes } from '../../protocol/memory.ts'
import {
  check,
  ingest,
  plain,
  prove,
  repack,
  type CheckJob,
  type IngestJob,
  type PlainJob,
  type RepackJob,
} from './record-work.ts'

const moved = (bytes: Uint8Array<ArrayBuffer>): Moved<Uint8Array<ArrayBuffer>> => new Moved(bytes, [bytes.buffer])

const methods = {
  ingest: (job: IngestJob) => {
    try {
      return moved(ingest(job))
    } finally {
      // nobody has it any more, and the garbage collector would see but a small object
      freeBytes(job.stored)
    }
  },
  prove,
  check: (job: CheckJob) => {
    const faults = check(job)
    // thousands of reads would wait for the garbage collector
    freeBuffer(job.buffer)
    return faults
  },
  plain: (job: PlainJob) => moved(plain(job)),
  repack: (job: RepackJob) => {
    const repacked = repack(job)
    for (const { record } of job.records) freeBytes(record)
    return new Moved(repacked, [repacked.stored.buffer])
  },
}
export type RecordMethods = typeof methods

/** Largest nice value. */
const NICENESS_MAX = 19

/** On Linux this is the calling thread's alone. */
const giveWay = (): void => {
  if (process.platform !== 'linux') return
  try {
    setPriority(Math.min(getPriority() + (workerData as number), NICENESS_MAX))
  } catch {
    // a sandbox may forbid it: the thread works as well, only beside the others
  }
}

giveWay()

serveThread(methods)
