// The third step: which disks go where on which host, and what the agent says of these places.
import { useSignal } from '@preact/signals'
import type { VarveError } from '../../../../protocol/errors.ts'
import type { FoundPlace } from '../../../../protocol/restores.ts'
import type { Point } from '../../../../protocol/schemas.ts'
import { link, zone } from '../../frame/console.ts'
import { filter } from '../../frame/router.ts'
import { Button, ErrorNote, Field, Loading, Mark, Select } from '../../parts/basics.tsx'
import { bytesText } from '../../parts/format.ts'
import { useWatched } from '../../parts/hooks.ts'
import { agentsOf } from '../../stores/people.ts'
import type { Places } from '../../stores/restores.ts'
import { isolate } from '../../texts/isolate.ts'
import { restore as texts } from '../../texts/restore.ts'
import { NOWHERE, offered, placed, type Wish } from './wish.ts'

/** Folders that can be chosen without typing them. */
const FOLDERS_OFFERED_MAX = 3

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

interface PathProps {
  readonly label: string
  readonly hint: string
  readonly path: string
  readonly placeholder?: string
  readonly onSay: (path: string) => void
}

/** A path on the host: said when the field is left, and not taken from who types when an answer comes meanwhile. */
const PathField = ({ label, hint, path, placeholder = '', onSay }: PathProps) => {
  const typed = useSignal<string | null>(null)
  return (
    <Field
      label={label}
      hint={hint}
      value={typed.value ?? path}
      placeholder={placeholder}
      spellcheck={false}
      autocomplete="off"
      onInput={(event) => (typed.value = event.currentTarget.value)}
      onChange={(event) => {
        const said = event.currentTarget.value.trim()
        typed.value = null
        onSay(said)
      }}
    />
  )
}

interface SaidProps {
  readonly place: FoundPlace
  readonly size: number
  readonly isOnto: boolean
  readonly onLookAgain: () => void
}

/** What a restore does to what is there. */
const Does = ({ place: { there, thereBytes }, isOnto }: Pick<SaidProps, 'place' | 'isOnto'>) => {
  if (there === null) return <Mark tone="good">{texts.new}</Mark>
  const size = bytesText(thereBytes ?? 0)
  const [file, device] = isOnto
    ? [texts.compared(size), texts.comparedDevice]
    : [texts.replaces(size), texts.overwrites]
  return <Mark tone="warn">{there === 'file' ? file : device}</Mark>
}

const Said = ({ place, size, isOnto, onLookAgain }: SaidProps) => {
  const { error, freeBytes, format } = place
  if (error !== null)
    return (
      <p>
        <Mark tone="bad">{error.message}</Mark> <code>{error.code}</code>{' '}
        <Button onClick={onLookAgain}>{texts.lookAgain}</Button>
      </p>
    )
  return (
    <p>
      <Does place={place} isOnto={isOnto} /> {format === null ? null : texts.asFormat(format)}
      {!isOnto && freeBytes !== null && freeBytes < size ? (
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
  /** Where it goes; undefined where it is not wanted. */
  readonly to: string | undefined
  readonly found: Places
  readonly onLookAgain: () => void
}

/** What the agent says of one disk's place, or why it was not asked. */
const PlaceOf = ({ disk: { size }, wish, to, found, onLookAgain }: Omit<DiskProps, 'point'>) => {
  const isOnto = wish.way === 'onto'
  const place = found.places.find((one) => one.to === to)
  if (place !== undefined) return <Said place={place} size={size} isOnto={isOnto} onLookAgain={onLookAgain} />
  const unsaid = isOnto ? texts.unsaidOnto : texts.unsaid
  return (
    <p role="status" class="quiet">
      {to === NOWHERE ? unsaid : to?.startsWith('/') === true ? texts.looking : texts.absolute}
    </p>
  )
}

const Disk = (props: DiskProps) => {
  const {
    point,
    disk: { name, size },
    wish,
    to,
    found,
  } = props
  const isOnto = wish.way === 'onto'
  const folder = isOnto ? null : (found.folders[0]?.path ?? null)
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
          <PathField
            label={isOnto ? texts.onto(name) : texts.to(name)}
            path={to === NOWHERE ? '' : to}
            hint={isOnto ? texts.ontoHint : texts.toHint}
            onSay={(said) => filter(placed(name, said || NOWHERE))}
          />
          <PlaceOf {...props} />
        </>
      )}
    </div>
  )
}

interface WholeProps {
  readonly point: Point
  readonly wish: Wish
  readonly targets: ReadonlyMap<string, string>
  readonly found: Places
  readonly onLookAgain: () => void
}

/** All disks in one folder: only that is said, and what comes of it for each disk. */
const Whole = ({ point, wish, targets, found, onLookAgain }: WholeProps) => (
  <>
    <PathField
      label={texts.folder}
      path={wish.folder ?? ''}
      hint={texts.folderHint}
      placeholder={found.folders[0]?.path ?? ''}
      onSay={(said) => filter({ folder: said || null })}
    />
    <p class="quiet">{texts.wholeMore}</p>
    {wish.folder === null ? (
      <div class="actions">
        {found.folders.slice(0, FOLDERS_OFFERED_MAX).map(({ path }) => (
          <Button key={path} onClick={() => filter({ folder: path })}>
            {texts.use(path)}
          </Button>
        ))}
      </div>
    ) : (
      point.disks.map((disk) => (
        <div key={disk.name} class="disk">
          <p>
            {texts.disk(disk.name, bytesText(disk.size))}: <code>{isolate(targets.get(disk.name) ?? '')}</code>
          </p>
          <PlaceOf disk={disk} wish={wish} to={targets.get(disk.name)} found={found} onLookAgain={onLookAgain} />
        </div>
      ))
    )}
  </>
)

interface PlacesProps {
  readonly point: Point
  readonly wish: Wish
  readonly targets: ReadonlyMap<string, string>
  /** What the agent said last, of these places or of those before; null before it has said anything. */
  readonly found: Places | null
  readonly error: VarveError | null
  readonly onLookAgain: () => void
}

export const ChoosePlaces = ({ point, wish, targets, found, error, onLookAgain }: PlacesProps) => {
  if (found === null) return error === null ? <Loading rows={3} /> : <ErrorNote error={error} onRetry={onLookAgain} />
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
      {error === null ? null : <ErrorNote error={error} onRetry={onLookAgain} />}
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
      {wish.way === 'whole' ? (
        <Whole point={point} wish={wish} targets={targets} found={found} onLookAgain={onLookAgain} />
      ) : (
        point.disks.map((disk) => (
          <Disk
            key={disk.name}
            point={point}
            disk={disk}
            wish={wish}
            to={targets.get(disk.name)}
            found={found}
            onLookAgain={onLookAgain}
          />
        ))
      )}
    </>
  )
}
