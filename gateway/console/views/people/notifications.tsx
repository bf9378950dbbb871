// Notifications: targets with a test, rules, mutes, the outbox and the ping outwards.
import { link } from '../../frame/console.ts'
import { Ago, Mark } from '../../parts/basics.tsx'
import { durationText } from '../../parts/format.ts'
import { useWatched } from '../../parts/hooks.ts'
import { pingOf, settingsOf } from '../../stores/notifications.ts'
import { notifications as texts } from '../../texts/notifications.ts'
import { Mutes } from './mutes.tsx'
import { Outbox } from './outbox.tsx'
import { Rules } from './rules.tsx'
import { Read } from './shown.tsx'
import { Targets } from './targets.tsx'

const SETTINGS = settingsOf(link)
const PING = pingOf(link)

const Ping = () => {
  const ping = useWatched(PING)
  return (
    <section class="panel">
      <h2>{texts.ping}</h2>
      <Read of={ping}>
        {(found) => {
          if (found === 'none') return <p>{texts.noPing}</p>
          const { origin, everyMs, answeredMs, error } = found
          return (
            <p>
              {texts.pingTo(origin, durationText(everyMs))}; {texts.pingAnswered} <Ago timeMs={answeredMs} />.{' '}
              {error === null ? null : <Mark tone="bad">{texts.pingFailed(error)}</Mark>}
            </p>
          )
        }}
      </Read>
    </section>
  )
}

export const Notifications = () => {
  const settings = useWatched(SETTINGS)
  const refresh = (): Promise<void> => settings.refresh()
  return (
    <div class="scrolls">
      <Read of={settings}>
        {({ targets, rules, mutes }) => (
          <>
            <Targets targets={targets} onChange={refresh} />
            <Rules rules={rules} targets={targets} onChange={refresh} />
            <Mutes mutes={mutes} onChange={refresh} />
          </>
        )}
      </Read>
      <Outbox />
      {link.may('notify.ping') ? <Ping /> : null}
    </div>
  )
}
