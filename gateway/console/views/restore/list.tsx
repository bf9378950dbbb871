// Restores that run and have ended: how far, how fast, why not, and the way to end one.
import { useSignal } from '@preact/signals'
import type { Restore } from '../../../../protocol/restores.ts'
import { link, nowMs, zone } from '../../frame/console.ts'
import { AsOf, Bar, Button, ErrorNote, Loading, Mark, type Tone } from '../../parts/basics.tsx'
import { Ask } from '../../parts/dialog.tsx'
import { agoText, bytesText, durationText, rateText, zonedText } from '../../parts/format.ts'
import { useWatched } from '../../parts/hooks.ts'
import { cancelRestore, differOf, howOf, Rates, Restores, sizeOf, stepOf, type Step } from '../../stores/restores.ts'
import { common } from '../../texts/common.ts'
import { isolate } from '../../texts/isolate.ts'
import { restore } from '../../texts/restore.ts'

const texts = restore.list
const rates = new Rates()
const restores = new Restores(link, rates)

/** The one of this id as it is now, while the list is shown. */
export const restoreOf = (id: string): Restore | null => restores.one(id)

/** What was just ordered is shown at once. */
export const refreshRestores = (): Promise<void> => restores.refresh()

const stateOf = (restore: Restore): readonly [Tone, string] => {
  const { state, error } = restore
  const isCompared = howOf(restore) === 'compare'
  if (state === 'running') return ['busy', isCompared ? texts.comparing : texts.running]
  if (state === 'done') return ['good', isCompared ? texts.comparedDone : texts.done]
  return error?.code === 'CANCELLED' ? ['quiet', texts.cancelled] : ['bad', texts.failed]
}

const STEPS = {
  write: texts.progress,
  compare: texts.progressCompared,
  differing: texts.progressWritten,
} satisfies Record<Step['kind'], (done: string, size: string) => string>

const Progress = ({ one }: { one: Restore }) => {
  const { kind, done, size } = stepOf(one)
  const rate = rates.of(one.id)
  const amount = STEPS[kind](bytesText(done), bytesText(size))
  const left = rate === null || rate <= 0 ? null : ((size - done) / rate) * 1000
  return (
    <p>
      <Bar share={size === 0 ? 1 : done / size} tone="busy" label={amount} /> {amount},{' '}
      {left === null ? texts.measuring : texts.left(durationText(left), rateText(rate!))}
    </p>
  )
}

/** What a comparison found. */
export const Differing = ({ one }: { one: Restore }) => {
  const found = differOf(one)
  if (found === null) return null
  const [differ, size] = [bytesText(found.differ), bytesText(sizeOf(one))]
  return (
    <p>
      {howOf(one) === 'compare' ? texts.differ(differ, size) : texts.differed(differ, size, bytesText(found.written))}
    </p>
  )
}

/** What is left where one is ended. */
const leaves = ({ disks }: Restore): readonly string[] => {
  const how = disks[0]?.how ?? 'new'
  if (how === 'compare') return [texts.cancelCompare]
  const isDevice = disks.some(({ to }) => to.startsWith('/dev/'))
  return [how === 'onto' ? texts.cancelOnto : texts.cancelSays, ...(isDevice ? [texts.cancelDevice] : [])]
}

const Item = ({ one, onCancel }: { one: Restore; onCancel: () => void }) => {
  const [tone, word] = stateOf(one)
  const { machine, host, timeMs, by, startedMs, endedMs, error, disks, state } = one
  const names = disks.map(({ disk }) => isolate(disk)).join(', ')
  const head = howOf(one) === 'compare' ? texts.headCompared : texts.head
  return (
    <li class="panel">
      <p>
        <Mark tone={tone}>{word}</Mark> <strong>{head(names, machine, host)}</strong> {texts.asOf}{' '}
        {zonedText(timeMs, zone.value)}
      </p>
      <p class="paths">
        {disks.map(({ disk, to }) => (
          <code key={disk}>{isolate(to)}</code>
        ))}
      </p>
      {state === 'running' ? <Progress one={one} /> : <Differing one={one} />}
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
    // who may only look has nothing else here to scroll the page by keys
    <section aria-labelledby="restores" tabIndex={0}>
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
          {leaves(asked.value).map((text) => (
            <p key={text}>{text}</p>
          ))}
        </Ask>
      )}
    </section>
  )
}
