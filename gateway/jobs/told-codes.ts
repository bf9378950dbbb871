// Codes with which this gateway refused calls of running jobs, so that an agent may name one of them as the end of a job.
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

  /**
   * The error with which an agent ends the job, which is then forgotten: PEER_FAILED for a gateway's code that it never received.
   */
  ended(job: string, code: string, message: string): VarveError {
    const error = toldError(code, message)
    const met = this.#codes.get(job)?.has(error.code) === true
    this.#codes.delete(job)
    return speaksOfGateway(error.code) && !met ? peerFailed(error.code, error.message) : error
  }
}
