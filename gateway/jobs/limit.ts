// What a backup waits for: the agent's account of its time, and how much of that time the gateway had something in hand.
import type { JobLimit } from '../../protocol/backup.ts'
import type { Spent } from '../../protocol/steps.ts'
import type { Held } from '../chains/hand.ts'

/** The gateway is what an agent waits for when it has something in hand for this share of the time. */
const HELD_SHARE_MIN = 1 / 2

/** The same where no agent says what it waits for: then nearly always. */
const HELD_SHARE_ALONE_MIN = 9 / 10

/**
 * What took most of an agent's time. It waits for credit and answers in the same way whether its bytes crawl through the link
 * or lie at the gateway, so the gateway's own share of the same time tells the two apart. Null where neither says enough: an
 * older agent tells nothing, and then only a gateway that is never idle is named.
 */
export const limitOf = (spent: Spent | null, { overMs, heldMs }: Held): JobLimit | null => {
  const share = overMs > 0 ? heldMs / overMs : 0
  if (spent === null) return share >= HELD_SHARE_ALONE_MIN ? 'gateway' : null
  const { readingMs, compressingMs, sendingMs, answersMs } = spent
  const waitingMs = sendingMs + answersMs
  const most = Math.max(readingMs, compressingMs, waitingMs)
  if (most === 0) return null
  if (most === waitingMs) return share >= HELD_SHARE_MIN ? 'gateway' : 'link'
  return most === readingMs ? 'reading' : 'compressing'
}
