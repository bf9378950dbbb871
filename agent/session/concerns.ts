// What will soon break the connection to the gateway: a certificate that expires, clocks that differ.
import { DAY_MS, durationText } from '../../protocol/host/duration.ts'
import type { Dialled } from '../../protocol/host/dial.ts'
import { CLOCKS_APART_MS } from '../../protocol/host/unreachable.ts'

/** How long before the gateway's certificate expires a warning is given, in milliseconds. */
export const CERTIFICATE_WARNING_MS = 14 * DAY_MS

/** The warnings for a session that works, each a sentence. */
export const concernsOf = (
  { certificateEndMs, aheadMs }: Pick<Dialled, 'certificateEndMs' | 'aheadMs'>,
  nowMs: number,
): string[] => {
  const concerns: string[] = []
  const leftMs = (certificateEndMs ?? Number.POSITIVE_INFINITY) - nowMs
  if (leftMs < CERTIFICATE_WARNING_MS)
    concerns.push(
      `the gateway's certificate expires in ${durationText(leftMs)}, at ${new Date(certificateEndMs!).toISOString()}: renew it there, or agents will refuse it`,
    )
  if (aheadMs !== null && Math.abs(aheadMs) >= CLOCKS_APART_MS)
    concerns.push(
      `this host's clock is ${durationText(Math.abs(aheadMs))} ${aheadMs > 0 ? 'ahead of' : 'behind'} the gateway's: set the clocks right`,
    )
  return concerns
}
