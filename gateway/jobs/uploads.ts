// The uploads that are under way: of each disk one at a time, and none for longer than its job.
import { randomBytes } from 'node:crypto'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { keyedHash } from '../../protocol/host/keyed-hash.ts'
import { PROOF_BYTES } from '../../protocol/limits.ts'
import type { Params, Result } from '../../protocol/methods.ts'
import type { Clock } from '../../protocol/peer.ts'
import type { Tenant } from '../catalog/tenants.ts'
import { ImageUpload } from '../chains/upload.ts'
import { UploadLoad } from '../chains/upload-load.ts'
import { UploadMemory, type UploadCall } from '../chains/upload-memory.ts'
import type { Datastore } from '../datastore/datastore.ts'
import type { Courses } from './courses.ts'

interface RunningUpload {
  readonly job: string
  readonly ended: Promise<unknown>
  readonly abort: AbortController
}

interface UploadsOptions {
  readonly datastore: Datastore
  readonly courses: Pick<Courses, 'uploading'>
  readonly clock: Clock
  /** Called with the job after each commit of one of its images. */
  readonly onProgress: (job: string) => void
}

export class Uploads {
  readonly #options: UploadsOptions
  /** By agent, job and disk: a resumed one begins only when the interrupted one has ended. */
  readonly #running = new Map<string, RunningUpload>()
  readonly #load = new UploadLoad()

  constructor(options: UploadsOptions) {
    this.#options = options
  }

  /** Receives one disk's image; another call for the same disk waits until the ones before it have ended. */
  async receive(
    tenant: Tenant,
    agent: string,
    { job, disk }: Params<'image.upload'>,
    { call, account }: UploadCall,
  ): Promise<Result<'image.upload'>> {
    // another agent's upload is never waited for, whatever its name
    const key = `${agent}/${job}/${disk}`
    for (let before = this.#running.get(key); before !== undefined; before = this.#running.get(key)) {
      await before.ended.catch(() => {})
      call.signal.throwIfAborted()
    }
    const abort = new AbortController()
    const ended = this.#receive(tenant, agent, { job, disk }, { call, account, signal: abort.signal })
    this.#running.set(key, { job, ended, abort })
    try {
      return await ended
    } finally {
      this.#running.delete(key)
    }
  }

  /** Ends the uploads of a job that has ended, each with this error. */
  end(job: string, error: VarveError): void {
    for (const upload of this.#running.values()) if (upload.job === job) upload.abort.abort(error)
  }

  /** Resolves when none is under way; to be awaited after their sessions were ended. */
  async settled(): Promise<void> {
    await Promise.allSettled([...this.#running.values()].map(({ ended }) => ended))
  }

  async #receive(
    tenant: Tenant,
    agent: string,
    { job, disk }: Params<'image.upload'>,
    { call, account, signal }: UploadCall & { readonly signal: AbortSignal },
  ): Promise<Result<'image.upload'>> {
    const { datastore, courses, clock, onProgress } = this.#options
    const upload = await datastore.catalog.jobs.upload({ job, agent, disk })
    if (upload.finished) return { root: upload.root }
    signal.throwIfAborted()
    const hand = courses.uploading(job, disk, upload.position)
    using memory = await UploadMemory.admit({ call, account, load: this.#load, hand }, tenant.chunkBytes, signal)
    const store = datastore.tenantStore(tenant)
    await using writer = await store.openWriter({ job, disk, machine: upload.machine })
    const image = new ImageUpload({
      store,
      writer,
      upload,
      idKey: tenant.idKey,
      chunkBytes: tenant.chunkBytes,
      hash: keyedHash,
      proofKey: randomBytes(PROOF_BYTES),
      clock,
      memory,
      signal,
      onProgress: () => onProgress(job),
    })
    try {
      return await image.run(call.received, (message) => call.sendHeld(message))
    } catch (thrown) {
      const error = asVarveError(thrown)
      await store.quarantine.enterError(error)
      if (error.code !== 'DATA_DAMAGED') throw thrown
      const sentence = `${error.message}; the next backup reads it again and heals it`
      throw new VarveError('DATA_DAMAGED', sentence, { details: error.details, cause: error })
    }
  }
}
