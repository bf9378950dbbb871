// The last step: one sentence of what will happen, and the buttons; what would be lost has to be typed first.
import { useSignal, type Signal } from '@preact/signals'
import { asVarveError, type VarveError } from '../../../../protocol/errors.ts'
import type { FoundPlace, RestoreHow } from '../../../../protocol/restores.ts'
import { link, zone } from '../../frame/console.ts'
import { to as address } from '../../frame/route.ts'
import { Button, ErrorNote, Mark } from '../../parts/basics.tsx'
import { Ask } from '../../parts/dialog.tsx'
import { bytesText, zonedText } from '../../parts/format.ts'
import { useMade, useWatched } from '../../parts/hooks.ts'
import { differsOf, startRestore, type Chosen, type Places } from '../../stores/restores.ts'
import { isolate } from '../../texts/isolate.ts'
import { restore as texts } from '../../texts/restore.ts'
import { Differing, refreshRestores, restoreOf } from './list.tsx'
import type { Wish } from './wish.ts'

interface StartProps {
  readonly chosen: Chosen
  readonly wish: Wish
  /** Where each disk that is wanted goes. */
  readonly targets: ReadonlyMap<string, string>
  readonly found: Places
}

interface Disk {
  readonly disk: string
  readonly size: number
  readonly place: FoundPlace
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

/** What a comparison that was ordered here has found, or why not. */
const Compared = ({ id }: { id: string }) => {
  const one = restoreOf(id)
  if (one === null || one.state === 'running') return <p role="status">{texts.isComparing}</p>
  if (one.error !== null)
    return (
      <p role="status">
        <Mark tone="bad">{one.error.message}</Mark> <code>{one.error.code}</code>
      </p>
    )
  return (
    <div role="status">
      <Differing one={one} />
    </div>
  )
}

interface AskProps {
  readonly sentence: string
  readonly host: string
  readonly isOnto: boolean
  readonly lost: readonly Disk[]
  readonly onYes: () => Promise<void>
  readonly onClose: () => void
}

const AskOverwrite = ({ sentence, host, isOnto, lost, onYes, onClose }: AskProps) => (
  <Ask
    title={isOnto ? texts.writeTitle : texts.overwriteTitle}
    kind="danger"
    action={isOnto ? texts.write : texts.overwrite}
    typed={host}
    onYes={onYes}
    onClose={onClose}
  >
    <p>{sentence}</p>
    <p>
      <Mark tone="bad">{isOnto ? texts.lostOnto : texts.lost}</Mark>
    </p>
    <ul>
      {lost.map(({ disk, place }) => (
        <li key={disk}>
          <code>{isolate(place.path ?? place.to)}</code>
        </li>
      ))}
    </ul>
  </Ask>
)

const Resize = ({ isResized }: { isResized: Signal<boolean> }) => (
  <label class="check">
    <input
      type="checkbox"
      checked={isResized.value}
      onChange={(event) => (isResized.value = event.currentTarget.checked)}
    />
    <span>{texts.resize}</span>
  </label>
)

export const Start = ({ chosen, wish, targets, found }: StartProps) => {
  const isAsking = useSignal(false)
  const isBusy = useSignal(false)
  const isResized = useSignal(false)
  const error = useSignal<VarveError | null>(null)
  const compared = useSignal<string | null>(null)
  const { point } = chosen
  const isOnto = wish.way === 'onto'
  const disks: Disk[] = point.disks.flatMap(({ name, size }) => {
    const place = found.places.find(({ to }) => to === targets.get(name))
    return place === undefined ? [] : [{ disk: name, size, place }]
  })
  if (disks.length === 0 || disks.length < targets.size) return <p class="quiet">{texts.notYet}</p>
  const lost = disks.filter(({ place }) => place.there !== null)
  const isRefused = disks.some(({ place }) => place.error !== null)
  const order = async (how: RestoreHow, overwrite: boolean): Promise<string> => {
    const wanted = disks.map(({ disk, place: { to, format } }) => ({ disk, to, format, how }))
    const asked = { point: point.id, agent: wish.agent!, disks: wanted, overwrite }
    const { restore } = await startRestore(link, asked)
    void refreshRestores()
    return restore
  }
  const run = async (overwrite: boolean): Promise<void> => {
    await order(isOnto ? 'onto' : 'new', overwrite)
    // what was ordered is among the restores now; going back must not order it again
    location.hash = address('restore')
  }
  const now = async (work: () => Promise<void>): Promise<void> => {
    isBusy.value = true
    error.value = null
    try {
      await work()
    } catch (thrown) {
      error.value = asVarveError(thrown)
    }
    isBusy.value = false
  }
  const compare = async (): Promise<void> => void (compared.value = await order('compare', isResized.value))
  const names = listed(disks.map(({ disk }) => isolate(disk)))
  const paths = listed(disks.map(({ place }) => isolate(place.path ?? place.to)))
  const bytes = bytesText(disks.reduce((sum, { size }) => sum + size, 0))
  const time = zonedText(point.timeMs, zone.value)
  const sentence = (isOnto ? texts.sentenceOnto : texts.sentence)(bytes, names, point.machine, time, found.host, paths)
  const keeps = isOnto ? texts.keepsOnto : lost.length === 0 ? texts.keeps : null
  return (
    <>
      <p class="sentence">
        {sentence}
        <Differs chosen={chosen} disks={disks.map(({ disk }) => disk)} />
      </p>
      {keeps === null ? null : <p class="quiet">{keeps}</p>}
      {isOnto ? <Resize isResized={isResized} /> : null}
      {isRefused ? (
        <p>
          <Mark tone="bad">{texts.refused}</Mark>
        </p>
      ) : null}
      {error.value === null ? null : <ErrorNote error={error.value} />}
      {compared.value === null ? null : <Compared id={compared.value} />}
      <div class="actions">
        {isOnto ? (
          <Button disabled={isBusy.value || isRefused} onClick={() => void now(compare)}>
            {texts.compare}
          </Button>
        ) : null}
        {lost.length === 0 && !isOnto ? (
          <Button kind="main" disabled={isBusy.value || isRefused} onClick={() => void now(() => run(false))}>
            {texts.start}
          </Button>
        ) : (
          <Button kind="danger" disabled={isRefused} onClick={() => (isAsking.value = true)}>
            {isOnto ? texts.write : texts.overwrite}
          </Button>
        )}
      </div>
      {isAsking.value ? (
        <AskOverwrite
          sentence={sentence}
          host={found.host}
          isOnto={isOnto}
          lost={lost}
          onYes={() => run(isOnto ? isResized.value : true)}
          onClose={() => (isAsking.value = false)}
        />
      ) : null}
    </>
  )
}
