// Runs a survey on a thread of its own and hands over what it finds dead.
import { VarveError } from '../../protocol/errors.ts'
import { WorkThread } from '../../protocol/host/threads.ts'
import { orAbort } from '../../protocol/host/within.ts'
import type { MaintenanceProgress } from '../../protocol/maintenance.ts'
import { ownIfDamage } from '../packs/damage.ts'
import type { Tenant } from '../catalog/tenants.ts'
import type { PackStoreSpec } from '../packs/open-pack-store.ts'
import type { OwnedImage } from './lattice.ts'
import type { OnDead, SurveyOptions, SurveyResult } from './survey.ts'
import type { SurveyMethods } from './survey-worker.ts'

export interface SurveyJob extends Pick<SurveyOptions, 'trees' | 'parts' | 'records'> {
  /** Path of the catalog. */
  readonly catalogFile: string
  readonly packs: PackStoreSpec
  readonly tenant: Tenant
  /** The images whose owners are distinguished; null where only liveness matters. */
  readonly owners: readonly OwnedImage[] | null
  /** Dead records are handed over while they are counted, once the count is agreed to, or not at all. */
  readonly dead: 'at once' | 'agreed' | 'never'
  readonly marksMax?: number
}

/** The methods that the survey's thread calls here. */
export type SurveyOwner = {
  readonly progress: (progress: MaintenanceProgress) => void
  readonly dead: OnDead
  /** The count is done, and dead records are handed over once this resolves. */
  readonly counted: (result: SurveyResult) => Promise<void>
}

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
