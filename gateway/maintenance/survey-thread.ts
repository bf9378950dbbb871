// Runs a survey on a thread of its own and hands over what it finds dead.
import type { Tenant } from '../catalog/tenants.ts'
import { Worker } from 'node:worker_threads'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import type { MaintenanceProgress } from '../../protocol/maintenance.ts'
import { errorOfThread, type ThreadError } from '../common/thread-error.ts'
import type { PackStoreSpec } from '../packs/open-pack-store.ts'
import type { OwnedImage } from './lattice.ts'
import type { OnDead, SurveyOptions, SurveyResult } from './survey.ts'

export interface SurveyJob extends Pick<SurveyOptions, 'trees' | 'parts' | 'records'> {
  /** Path of the catalog. */
  readonly catalogFile: string
  readonly packs: PackStoreSpec
  readonly tenant: Tenant
  /** The images whose owners are told apart; null where only life and death matter. */
  readonly owners: readonly OwnedImage[] | null
  /** Dead records are handed over while they are counted, once the count is agreed to, or not at all. */
  readonly dead: 'at once' | 'agreed' | 'never'
  readonly marksMax?: number
}

export type SurveyAnswer =
  | { readonly kind: 'progress'; readonly progress: MaintenanceProgress }
  | { readonly kind: 'dead'; readonly ids: Uint8Array; readonly packs: Uint32Array; readonly stored: Uint32Array }
  /** The count is done, and dead records are handed over once somebody agrees. */
  | { readonly kind: 'counted'; readonly result: SurveyResult }
  | { readonly kind: 'result'; readonly result: SurveyResult }
  | { readonly kind: 'error'; readonly error: ThreadError }

/** The survey's result; what `agree` rejects with, STORE_FAILED, CATALOG_DAMAGED, or the signal's reason. */
export const runSurvey = async (
  job: SurveyJob,
  options: {
    readonly signal: AbortSignal
    readonly onProgress: (progress: MaintenanceProgress) => void
    /** Takes dead ids with their packs' handles and their stored lengths; the survey waits for it. */
    readonly onDead?: OnDead
    /** Looks at the count before anything dead is handed over; what it rejects with ends the survey. */
    readonly agree?: (counted: SurveyResult) => Promise<void>
  },
): Promise<SurveyResult> => {
  const { signal, onProgress, onDead = async () => {}, agree = async () => {} } = options
  signal.throwIfAborted()
  const worker = new Worker(new URL('survey-worker.ts', import.meta.url), { workerData: job })
  const { promise, resolve, reject } = Promise.withResolvers<SurveyResult>()
  const onAbort = (): void => reject(asVarveError(signal.reason))
  signal.addEventListener('abort', onAbort)
  const answer = (work: Promise<void>): void => void work.then(() => worker.postMessage('go on'), reject)
  worker.on('message', (said: SurveyAnswer) => {
    if (said.kind === 'progress') return onProgress(said.progress)
    if (said.kind === 'result') return resolve(said.result)
    if (said.kind === 'error') return reject(errorOfThread(said.error))
    answer(said.kind === 'counted' ? agree(said.result) : onDead(said.ids, said.packs, said.stored))
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
