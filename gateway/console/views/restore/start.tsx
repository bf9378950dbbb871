// The last step: one sentence of what will happen, and the button; what would be lost has to be typed first.
import { useSignal } from '@preact/signals'
import { asVarveError, type VarveError } from '../../../../protocol/errors.ts'
import { link, zone } from '../../frame/console.ts'
import { to as address } from '../../frame/route.ts'
import { Button, ErrorNote, Mark } from '../../parts/basics.tsx'
import { Ask } from '../../parts/dialog.tsx'
import { bytesText, zonedText } from '../../parts/format.ts'
import { useMade, useWatched } from '../../parts/hooks.ts'
import { differsOf, startRestore, type Chosen, type Places } from '../../stores/restores.ts'
import { isolate } from '../../texts/isolate.ts'
import { restore as texts } from '../../texts/restore.ts'
import { refreshRestores } from './list.tsx'
import type { Wish } from './wish.ts'

interface StartProps {
  readonly chosen: Chosen
  readonly wish: Wish
  readonly found: Places
}

const listed = (names: readonly string[]): string =>
  names.length < 2 ? names.join('') : `${names.slice(0, -1).join(', ')}${texts.and}${names.at(-1)!}`

const Differs = ({ chosen, disks }: { chosen: Chosen; disks: readonly string[] }) => {
  const key = JSON.stringify([chosen.point.id, chosen.newest?.id, disks])
  const differs = useWatched(useMade(() => differsOf(link, chosen, disks), key)).value.value
  if (chosen.newest?.id === chosen.point.id) return <> {texts.isNewest}</>
  if (differs === null || differs === 'none') return null
  return <> {texts.differs(bytesText(differs.bytes), differs.atLeast)}</>
}

export const Start = ({ chosen, wish, found }: StartProps) => {
  const isAsking = useSignal(false)
  const isBusy = useSignal(false)
  const error = useSignal<VarveError | null>(null)
  const { point } = chosen
  const disks = point.disks.flatMap(({ name, size }) => {
    const place = found.places.find(({ to }) => to === wish.to.get(name))
    return place === undefined ? [] : [{ disk: name, size, place }]
  })
  if (disks.length === 0 || disks.length < wish.to.size) return <p class="quiet">{texts.notYet}</p>
  const lost = disks.filter(({ place }) => place.there !== null)
  const isRefused = disks.some(({ place }) => place.error !== null)
  const run = async (overwrite: boolean): Promise<void> => {
    const wanted = disks.map(({ disk, place: { to, format } }) => ({ disk, to, format }))
    await startRestore(link, { point: point.id, agent: wish.agent!, disks: wanted, overwrite })
    // what was ordered is among the restores now; going back must not order it again
    void refreshRestores()
    location.hash = address('restore')
  }
  const runNow = async (): Promise<void> => {
    isBusy.value = true
    error.value = null
    try {
      await run(false)
    } catch (thrown) {
      error.value = asVarveError(thrown)
    }
    isBusy.value = false
  }
  const names = listed(disks.map(({ disk }) => isolate(disk)))
  const paths = listed(disks.map(({ place }) => isolate(place.path ?? place.to)))
  const bytes = bytesText(disks.reduce((sum, { size }) => sum + size, 0))
  const time = zonedText(point.timeMs, zone.value)
  return (
    <>
      <p class="sentence">
        {texts.sentence(bytes, names, point.machine, time, found.host, paths)}
        <Differs chosen={chosen} disks={disks.map(({ disk }) => disk)} />
      </p>
      <p class="quiet">{lost.length === 0 ? texts.keeps : null}</p>
      {isRefused ? (
        <p>
          <Mark tone="bad">{texts.refused}</Mark>
        </p>
      ) : null}
      {error.value === null ? null : <ErrorNote error={error.value} />}
      <div class="actions">
        {lost.length === 0 ? (
          <Button kind="main" disabled={isBusy.value || isRefused} onClick={() => void runNow()}>
            {texts.start}
          </Button>
        ) : (
          <Button kind="danger" disabled={isRefused} onClick={() => (isAsking.value = true)}>
            {texts.overwrite}
          </Button>
        )}
      </div>
      {isAsking.value ? (
        <Ask
          title={texts.overwriteTitle}
          kind="danger"
          action={texts.overwrite}
          typed={found.host}
          onYes={() => run(true)}
          onClose={() => (isAsking.value = false)}
        >
          <p>{texts.sentence(bytes, names, point.machine, time, found.host, paths)}</p>
          <p>
            <Mark tone="bad">{texts.lost}</Mark>
          </p>
          <ul>
            {lost.map(({ disk, place }) => (
              <li key={disk}>
                <code>{isolate(place.path ?? place.to)}</code>
              </li>
            ))}
          </ul>
        </Ask>
      ) : null}
    </>
  )
}
