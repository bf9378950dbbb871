// A record thread: runs one job after the other, moving buffers instead of copying them.
import { getPriority, setPriority } from 'node:os'
import { Moved, serveThread } from '../../protocol/host/threads.ts'
import { freeBuffer, freeBytes } from '../../protocol/memory.ts'
import { check, ingest, plain, prove, type CheckJob, type IngestJob, type PlainJob } from './record-work.ts'

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
}
export type RecordMethods = typeof methods

/** By how much a record thread gives way to the threads of the event loop and the database, as a nice value. */
const RECORD_NICENESS = 5

/** Largest nice value. */
const NICENESS_MAX = 19

/** On Linux this is the calling thread's alone. */
const giveWay = (): void => {
  if (process.platform !== 'linux') return
  try {
    setPriority(Math.min(getPriority() + RECORD_NICENESS, NICENESS_MAX))
  } catch {
    // a sandbox may forbid it: the thread works as well, only beside the others
  }
}

giveWay()

serveThread(methods)
