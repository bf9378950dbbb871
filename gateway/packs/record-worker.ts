// A record thread: runs one job after the other and posts each answer, moving buffers instead of copying them.
import { parentPort } from 'node:worker_threads'
import { asVarveError } from '../../protocol/errors.ts'
import { freeBuffer } from '../../protocol/memory.ts'
import {
  check,
  ingest,
  plain,
  prove,
  type CheckJob,
  type IngestJob,
  type PlainJob,
  type ProveJob,
} from './record-work.ts'

export type RecordJob =
  | { readonly kind: 'ingest'; readonly job: IngestJob }
  | { readonly kind: 'prove'; readonly job: ProveJob }
  | { readonly kind: 'check'; readonly job: CheckJob }
  | { readonly kind: 'plain'; readonly job: PlainJob }

const port = parentPort!

const run = ({ kind, job }: RecordJob): void => {
  switch (kind) {
    case 'ingest': {
      const result = ingest(job)
      port.postMessage({ result }, [result.buffer])
      return
    }
    case 'prove':
      port.postMessage({ result: prove(job) })
      return
    case 'check':
      port.postMessage({ result: check(job) })
      // thousands of reads would wait for the collector
      freeBuffer(job.buffer)
      return
    case 'plain': {
      const result = plain(job)
      port.postMessage({ result }, [result.buffer])
    }
  }
}

port.on('message', (job: RecordJob | null) => {
  if (job === null) return port.close()
  try {
    run(job)
  } catch (thrown) {
    const { code, message, details } = asVarveError(thrown)
    port.postMessage({ error: { code, message, details } })
  }
})
