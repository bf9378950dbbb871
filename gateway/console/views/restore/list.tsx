// Restores that run and have ended: how far, how fast, why not, and the way to end one.
import { useSignal } from '@preact/signals'
import type { Restore } from '../../../../protocol/restores.ts'
import { link, nowMs, zone } from '../../frame/console.ts'
import { AsOf, Bar, Button, ErrorNote, Loading, Mark, type Tone } from '../../parts/basics.tsx'
import { Ask } from '../../parts/dialog.tsx'
import { agoText, bytesText, durationText, rateText, zonedText } from '../../parts/format.ts'
import { useWatched } from '../../parts/hooks.ts'
import { cancelRestore, doneOf, Rates, Restores, sizeOf } from '../../stores/restores.ts'
import { common } from '../../texts/common.ts'
import { isolate } from '../../texts/isolate.ts'
import { restore } from '../../texts/restore.ts'

const texts = restore.list
const rates = new Rates()
const restores = new Restores(link, rates)

/** What was just ordered is shown at once. */
export const refreshRestores = (): Promise<void> => restores.refresh()

const stateOf = ({ state, error }: Restore): readonly [Tone, string] => {
  if (state === 'running') return ['busy', texts.running]
  if (state === 'done') return ['good', texts.done]
  return error?.code === 'CANCELLED' ? ['quiet', texts.cancelled] : ['bad', texts.failed]
}

const Progress = ({ one }: { one: Restore }) => {
  const [done, size] = [doneOf(one), sizeOf(one)]
  const rate = rates.of(one.id)
  const amount = texts.progress(bytesText(done), bytesText(size))
  const left = rate === null || rate <= 0 ? null : ((size - done) / rate) * 1000
  return (
    <p>
      <Bar share={size === 0 ? 1 : done / size} tone="busy" label={amount} /> {amount},{' '}
      {left === null ? texts.measuring : texts.left(durationText(left), rateText(rate!))}
    </p>
  )
}

const Item = ({ one, onCancel }: { one: Restore; onCancel: () => void }) => {
  const [tone, word] = stateOf(one)
  const { machine, host, timeMs, by, startedMs, endedMs, error, disks, state } = one
  const names = disks.map(({ disk }) => isolate(disk)).join(', ')
  return (
    <li class="panel">
      <p>
        <Mark tone={tone}>{word}</Mark> <strong>{texts.head(names, machine, host)}</strong> {texts.asOf}{' '}
        {zonedText(timeMs, zone.value)}
      </p>
      <p class="paths">
        {disks.map(({ disk, to }) => (
          <code key={disk}>{isolate(to)}</code>
        ))}
      </p>
      {state === 'running' ? <Progress one={one} /> : null}
      {error === null || error.code === 'CANCELLED' ? null : (
        <p>
          {error.message} <code>{error.code}</code>
        </p>
      )}
      {disks.flatMap(({ disk, remarks }) => remarks.map((remark) => <p key={`${disk} ${remark}`}>{remark}</p>))}
      <p class="quiet">
        {texts.by(by, agoText(startedMs, Math.max(nowMs.value, startedMs)))}
        {endedMs === null ? null : `; ${texts.took(durationText(endedMs - startedMs))}`}
      </p>
      {state === 'running' && link.may('restores.cancel') ? (
        <div class="actions">
          <Button onClick={onCancel} label={texts.cancelLabel(machine)}>
            {texts.cancel}
          </Button>
        </div>
      ) : null}
    </li>
  )
}

export const RestoreList = () => {
  useWatched(restores)
  const asked = useSignal<Restore | null>(null)
  const { rows, error } = { rows: restores.rows.value, error: restores.error.value }
  return (
    <section aria-labelledby="restores">
      <h2 id="restores">{texts.title}</h2>
      {rows === null ? (
        error === null ? (
          <Loading rows={3} />
        ) : (
          <ErrorNote error={error} onRetry={() => void restores.refresh()} />
        )
      ) : (
        <>
          <AsOf asOfMs={restores.asOfMs.value} error={error} />
          {rows.length === 0 ? <p>{texts.none}</p> : null}
          <ul class="restores">
            {rows.map((one) => (
              <Item key={one.id} one={one} onCancel={() => (asked.value = one)} />
            ))}
          </ul>
          {restores.next.value === null ? null : <Button onClick={() => void restores.more()}>{texts.more}</Button>}
        </>
      )}
      {asked.value === null ? null : (
        <Ask
          title={texts.cancelTitle}
          kind="danger"
          action={texts.cancelAction}
          leave={common.keepRunning}
          onYes={() => cancelRestore(link, asked.value!.id).finally(() => void refreshRestores())}
          onClose={() => (asked.value = null)}
        >
          <p>{texts.cancelSays}</p>
          {asked.value.disks.some(({ to }) => to.startsWith('/dev/')) ? <p>{texts.cancelDevice}</p> : null}
        </Ask>
      )}
    </section>
  )
}
