// How the connection stands, where that is worth a word: that it is lost, since when and what is done, or that its session ends.
import { useSignal } from '@preact/signals'
import { useEffect } from 'preact/hooks'
import { Button } from '../parts/basics.tsx'
import { agoText, durationText, MINUTE_MS, SECOND_MS } from '../parts/format.ts'
import { frame as texts } from '../texts/frame.ts'
import { link, nowMs } from './console.ts'
import type { LinkState } from '../net/link.ts'

/** How long before its end a session says so, in milliseconds. */
const SOON_MS = 15 * MINUTE_MS

const Lost = ({ state: { error, retryMs, heardMs } }: { state: LinkState & { kind: 'lost' } }) => {
  const now = useSignal(Date.now())
  useEffect(() => {
    const timer = setInterval(() => (now.value = Date.now()), SECOND_MS)
    return () => clearInterval(timer)
  }, [])
  const at = Math.max(now.value, heardMs ?? 0)
  return (
    <div class="banner bad">
      <span role="status">{texts.lost(error.message)}</span> {/* not said to who listens: it changes each second */}
      <span>
        {heardMs === null ? null : texts.old(durationText(at - heardMs))}{' '}
        {retryMs === null ? texts.retrying : texts.retryIn(durationText(Math.max(SECOND_MS, retryMs - at)))}
      </span>{' '}
      {retryMs === null ? null : <Button onClick={() => link.retry()}>{texts.retryNow}</Button>}
    </div>
  )
}

export const Banner = () => {
  const state = link.state.value
  const person = link.person.value
  if (state.kind === 'lost') return <Lost state={state} />
  if (person !== null && person.expiresMs - nowMs.value < SOON_MS)
    return (
      <div class="banner warn" role="status">
        {texts.soon(agoText(person.expiresMs, nowMs.value))}
      </div>
    )
  return null
}
