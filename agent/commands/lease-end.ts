// How the lease command ends its lease.
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import type { HeldLease } from '../../protocol/leases.ts'
import { pause } from '../../protocol/host/within.ts'
import type { AgentContext } from './context.ts'

/** How long one try to end a lease takes at most, in milliseconds; a lease that is not ended expires. */
const END_LIMIT_MS = 15_000

/** How long a success that is not answered is said again, in milliseconds. */
const SUCCESS_LIMIT_MS = 120_000

/** Pause between two tries, in milliseconds. */
export const RETRY_PAUSE_MS = 1000

type EndContext = Pick<AgentContext, 'link' | 'insist' | 'signal'>

export const endLease = async (
  context: Pick<EndContext, 'link' | 'insist'>,
  { machine, lease }: Pick<HeldLease, 'machine' | 'lease'>,
  success: boolean,
): Promise<void> => {
  const ask = async (limitMs: number): Promise<void> => {
    const peer = await context.link.peer(undefined, limitMs)
    await peer.call('machines.endLease', { machine, lease, success }, { deadlineMs: limitMs })
  }
  await context.insist(ask, { lentMs: END_LIMIT_MS, limitMs: END_LIMIT_MS })
}

const unknown = ({ machine, lease }: Pick<HeldLease, 'machine' | 'lease'>, cause: VarveError): VarveError => {
  const sentence = `it is not known whether lease ${lease} of ${machine} ended as a success: ${cause.message}`
  const wayOut = `"varve-agent targets ${machine}" says what counts`
  return new VarveError(cause.code, `${sentence}; ${wayOut}`, { cause })
}

/** Says a success again until its outcome is known, as it may have been heard: saying a failure after it would decide nothing. */
export const endAsSuccess = async (
  context: EndContext,
  held: Pick<HeldLease, 'machine' | 'lease'>,
  limitMs = SUCCESS_LIMIT_MS,
): Promise<void> => {
  const untilMs = performance.now() + limitMs
  while (true) {
    try {
      return await endLease(context, held, true)
    } catch (thrown) {
      const error = asVarveError(thrown)
      if (!error.retry && !error.endsConnection && error.code !== 'CANCELLED') throw error
      if (!error.retry || context.signal.aborted || performance.now() >= untilMs) throw unknown(held, error)
    }
    await pause(RETRY_PAUSE_MS, context.signal)
  }
}
