// The third step: which disks go where on which host, and what the agent says of these places.
import type { FoundPlace } from '../../../../protocol/restores.ts'
import type { Point } from '../../../../protocol/schemas.ts'
import { link, zone } from '../../frame/console.ts'
import { filter } from '../../frame/router.ts'
import { ErrorNote, Field, Loading, Mark, Select } from '../../parts/basics.tsx'
import { bytesText } from '../../parts/format.ts'
import { useWatched } from '../../parts/hooks.ts'
import type { Resource } from '../../net/resource.ts'
import { agentsOf } from '../../stores/people.ts'
import type { Places } from '../../stores/restores.ts'
import { isolate } from '../../texts/isolate.ts'
import { restore as texts } from '../../texts/restore.ts'
import { NOWHERE, offered, placed, type Wish } from './wish.ts'

const agents = agentsOf(link)

export const ChooseAgent = ({ wish }: { wish: Wish }) => {
  useWatched(agents)
  const { value, error } = { value: agents.value.value, error: agents.error.value }
  if (value === null)
    return error === null ? <Loading rows={1} /> : <ErrorNote error={error} onRetry={() => void agents.refresh()} />
  const choices = value.rows
    .filter(({ revokedMs }) => revokedMs === null)
    .map(({ id, host, link: session }) => ({ value: id, text: session === null ? texts.offline(host) : host }))
  return (
    <Select
      label={texts.agent}
      value={wish.agent ?? ''}
      choices={[{ value: '', text: texts.noAgent }, ...choices]}
      onChoose={(agent) => filter({ agent })}
    />
  )
}

const Said = ({ place, size }: { place: FoundPlace; size: number }) => {
  const { error, there, thereBytes, freeBytes, format } = place
  if (error !== null)
    return (
      <p>
        <Mark tone="bad">{error.message}</Mark> <code>{error.code}</code>
      </p>
    )
  const what =
    there === null ? (
      <Mark tone="good">{texts.new}</Mark>
    ) : (
      <Mark tone="warn">{there === 'file' ? texts.replaces(bytesText(thereBytes ?? 0)) : texts.overwrites}</Mark>
    )
  return (
    <p>
      {what} {format === null ? null : texts.asFormat(format)}
      {freeBytes !== null && freeBytes < size ? (
        <>
          {' '}
          <Mark tone="warn">{texts.tight(bytesText(freeBytes))}</Mark>
        </>
      ) : null}
    </p>
  )
}

interface DiskProps {
  readonly point: Point
  readonly disk: Point['disks'][number]
  readonly wish: Wish
  readonly found: Places | null
}

const Disk = ({ point, disk: { name, size }, wish, found }: DiskProps) => {
  const to = wish.to.get(name)
  const folder = found?.folders[0]?.path ?? null
  const place = found?.places.find((one) => one.to === to)
  return (
    <div class="disk">
      <label class="check">
        <input
          type="checkbox"
          checked={to !== undefined}
          onChange={(event) =>
            filter(placed(name, event.currentTarget.checked ? offered(folder, point, name, zone.value) : null))
          }
        />
        <span>{texts.disk(name, bytesText(size))}</span>
      </label>
      {to === undefined ? null : (
        <>
          <Field
            label={texts.to(name)}
            value={to === NOWHERE ? '' : to}
            hint={texts.toHint}
            spellcheck={false}
            autocomplete="off"
            onChange={(event) => filter(placed(name, event.currentTarget.value.trim() || NOWHERE))}
          />
          {place === undefined ? (
            <p role="status" class="quiet">
              {to === NOWHERE ? texts.unsaid : to.startsWith('/') ? texts.looking : texts.absolute}
            </p>
          ) : (
            <Said place={place} size={size} />
          )}
        </>
      )}
    </div>
  )
}

interface PlacesProps {
  readonly point: Point
  readonly wish: Wish
  readonly places: Resource<Places>
}

export const ChoosePlaces = ({ point, wish, places }: PlacesProps) => {
  const found = places.value.value
  const error = places.error.value
  if (found === null)
    return error === null ? <Loading rows={3} /> : <ErrorNote error={error} onRetry={() => void places.refresh()} />
  const all = [
    ...found.folders.map(({ path, freeBytes }) => ({
      path,
      free: freeBytes === null ? null : texts.free(bytesText(freeBytes)),
    })),
    ...found.devices.map(({ path }) => ({ path, free: null })),
  ]
  if (all.length === 0)
    return (
      <p>
        <Mark tone="warn">{texts.nowhere}</Mark>
      </p>
    )
  return (
    <>
      <p>
        {texts.allowed}{' '}
        {all.map(({ path, free }, index) => (
          <span key={path}>
            {index === 0 ? null : ', '}
            <code>{isolate(path)}</code>
            {free === null ? null : ` (${free})`}
          </span>
        ))}
      </p>
      {point.disks.map((disk) => (
        <Disk key={disk.name} point={point} disk={disk} wish={wish} found={found} />
      ))}
    </>
  )
}
