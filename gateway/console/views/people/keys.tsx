// The keys that sign tokens, for the platform, and changing to a new one.
import { useSignal } from '@preact/signals'
import { link } from '../../frame/console.ts'
import { Ago, Button } from '../../parts/basics.tsx'
import { Ask } from '../../parts/dialog.tsx'
import { useWatched } from '../../parts/hooks.ts'
import { actionsOf, keysOf } from '../../stores/people.ts'
import { tokens as texts } from '../../texts/people.ts'
import { Read } from './shown.tsx'

const KEYS = keysOf(link)
const actions = actionsOf(link)

export const Keys = () => {
  const keys = useWatched(KEYS)
  const isAsking = useSignal(false)
  return (
    <section class="panel">
      <h2>{texts.keys}</h2>
      <p>{texts.keysIntro}</p>
      <Read of={keys}>
        {(rows) => (
          <ul>
            {rows.map(({ id, endsMs }) => (
              <li key={id}>
                <code>{id}</code> {endsMs === null ? texts.keyNow : texts.keyUntil}{' '}
                {endsMs === null ? null : <Ago timeMs={endsMs} />}
              </li>
            ))}
          </ul>
        )}
      </Read>
      <div class="actions">
        <Button onClick={() => (isAsking.value = true)}>{texts.rotate}</Button>
      </div>
      {isAsking.value ? (
        <Ask
          title={texts.rotateTitle}
          action={texts.rotateAction}
          onYes={async () => {
            await actions.rotateKey()
            await keys.refresh()
          }}
          onClose={() => (isAsking.value = false)}
        >
          <p>{texts.rotateIntro}</p>
        </Ask>
      ) : null}
    </section>
  )
}
