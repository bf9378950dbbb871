// Runs a survey on a thread of its own and hands over what it finds dead.
import { VarveError } from '../../protocol/errors.ts'
import { WorkThread } from '../../protocol/host/threads.ts'
import { orAbort } from '../../protocol/host/within.ts'
import type { MaintenanceProgress } from '../../protocol/maintenance.ts'
import { ownIfDamage } from '../packs/damage.ts'
import type { OnDead } from './kept-dead.ts'
import type { SurveyResult } from './survey.ts'
import type { SurveyJob, SurveyMethods, SurveyOwner } from './survey-worker.ts'

/** The survey's result; what `agree` rejects with, STORE_FAILED, CATALOG_DAMAGED, or the signal's reason. */
export const runSurvey = async (
  job: SurveyJob,
  options: {
    readonly signal: AbortSignal
    readonly onProgress: (progress: MaintenanceProgress) => void
    /** Takes dead ids with their packs' handles and their stored lengths; the survey waits for it. */
    readonly onDead?: OnDead
    /** Checks the count before anything dead is handed over; a rejection ends the survey. */
    readonly agree?: (counted: SurveyResult) => Promise<void>
  },
): Promise<SurveyResult> => {
  const { signal, onProgress, onDead = async () => {}, agree = async () => {} } = options
  signal.throwIfAborted()
  const refused = Promise.withResolvers<never>()
  /** The survey rejects with the caller's own error, not with a copy that went through the thread. */
  const held = <A extends readonly unknown[]>(work: (...args: A) => Promise<void>) => {
    return (...args: A): Promise<void> =>
      work(...args).catch((error: unknown) => {
        refused.reject(error)
        throw error
      })
  }
  const methods: SurveyOwner = { progress: onProgress, dead: held(onDead), counted: held(agree) }
  const thread = new WorkThread<SurveyMethods>(new URL('survey-worker.ts', import.meta.url), {
    data: job,
    methods,
    ended: () => new VarveError('STORE_FAILED', 'the survey ended early'),
    onError: ownIfDamage,
  })
  try {
    return await orAbort(Promise.race([refused.promise, thread.call('survey', [])]), signal)
  } finally {
    await thread.terminate()
  }
}
