// Runs a survey on a thread of its own and hands over what it finds dead.
import { Worker } from 'node:worker_threads'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import type { MaintenanceProgress } from '../../protocol/maintenance.ts'
import type { Tenant } from '../datastore/database/tenants.ts'
import { errorOfThread, type ThreadError } from '../datastore/thread-error.ts'
import type { OwnedImage } from './lattice.ts'
import type { SurveyOptions, SurveyResult } from './survey.ts'

export interface SurveyJob extends Pick<SurveyOptions, 'trees' | 'parts' | 'records' | 'lostNodes'> {
  /** Paths of the catalog and of the folder of packs. */
  readonly catalog: string
  readonly packs: string
  readonly tenant: Tenant
  /** The images whose owners are told apart; null where only life and death matter. */
  readonly owners: readonly OwnedImage[] | null
  /** False: dead records are only counted. */
  readonly handDead: boolean
  readonly marksMax?: number
}

export type SurveyAnswer =
  | { readonly kind: 'progress'; readonly progress: MaintenanceProgress }
  | { readonly kind: 'dead'; readonly ids: Uint8Array; readonly packs: Uint32Array; readonly stored: Uint32Array }
  | { readonly kind: 'result'; readonly result: SurveyResult }
  | { readonly kind: 'error'; readonly error: ThreadError }

/** The survey's result; DATA_DAMAGED when a tree cannot be walked, STORE_FAILED, or the signal's reason. */
export const runSurvey = async (
  job: SurveyJob,
  options: {
    readonly signal: AbortSignal
    readonly onProgress: (progress: MaintenanceProgress) => void
    /** Takes dead ids with their packs' row ids and their stored lengths; the survey waits for it. */
    readonly onDead: SurveyOptions['onDead']
  },
): Promise<SurveyResult> => {
  const { signal, onProgress, onDead } = options
  signal.throwIfAborted()
  const worker = new Worker(new URL('survey-worker.ts', import.meta.url), { workerData: job })
  const { promise, resolve, reject } = Promise.withResolvers<SurveyResult>()
  const onAbort = (): void => reject(asVarveError(signal.reason))
  signal.addEventListener('abort', onAbort)
  worker.on('message', (answer: SurveyAnswer) => {
    if (answer.kind === 'progress') return onProgress(answer.progress)
    if (answer.kind === 'result') return resolve(answer.result)
    if (answer.kind === 'error') return reject(errorOfThread(answer.error))
    onDead(answer.ids, answer.packs, answer.stored).then(() => worker.postMessage('taken'), reject)
  })
  worker.on('error', (error) => reject(asVarveError(error, 'STORE_FAILED')))
  worker.on('exit', () => reject(new VarveError('STORE_FAILED', 'the survey ended early')))
  try {
    return await promise
  } finally {
    signal.removeEventListener('abort', onAbort)
    await worker.terminate()
  }
}
