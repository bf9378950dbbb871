// What this gateway refused calls of running jobs with, so that an agent that names one of its codes as the end of a job can be believed.
import { peerFailed, toldError, type ErrorCode, type VarveError } from '../../protocol/errors.ts'
import { speaksOfGateway } from './agent-error.ts'

/** Jobs whose refusals are remembered, the last ones. */
const JOBS_MAX = 4096

export class ToldCodes {
  readonly #codes = new Map<string, Set<ErrorCode>>()

  /** A call about this job was refused. */
  note(job: string, { code }: VarveError): void {
    if (!speaksOfGateway(code)) return
    const codes = this.#codes.get(job) ?? new Set()
    this.#codes.delete(job)
    this.#codes.set(job, codes.add(code))
    const [oldest] = this.#codes.keys()
    if (this.#codes.size > JOBS_MAX) this.#codes.delete(oldest!)
  }

  /** What an agent ends the job with, and nothing is remembered of it any more: PEER_FAILED for a fault of this gateway that it was not told of. */
  ended(job: string, code: string, message: string): VarveError {
    const error = toldError(code, message)
    const met = this.#codes.get(job)?.has(error.code) === true
    this.#codes.delete(job)
    return speaksOfGateway(error.code) && !met ? peerFailed(error.code, error.message) : error
  }
}
