// The view Restore: four steps to a restore that an agent carries out, each in the address, and the restores that run and ran.
import type { ComponentChildren } from 'preact'
import { link, nowMs, zone } from '../../frame/console.ts'
import { filter, route } from '../../frame/router.ts'
import { Button, ErrorNote, Loading, Mark } from '../../parts/basics.tsx'
import { Copy } from '../../parts/copy.tsx'
import { agoText, timeText } from '../../parts/format.ts'
import { useMade, useWatched } from '../../parts/hooks.ts'
import { chosenOf, placesOf, type Chosen } from '../../stores/restores.ts'
import { restore as texts } from '../../texts/restore.ts'
import { views as names } from '../../texts/views.ts'
import { ChooseMachine, ChoosePoint } from './choose.tsx'
import { RestoreList } from './list.tsx'
import { ChooseAgent, ChoosePlaces } from './places.tsx'
import { Start } from './start.tsx'
import { atHost, NOWHERE, offered, unplaced, wishOf, type Wish } from './wish.ts'

interface StepProps {
  readonly title: string
  /** What was chosen, with the way to choose again. */
  readonly made?: { readonly text: string; readonly onAgain: () => void }
  readonly children?: ComponentChildren
}

const Step = ({ title, made, children }: StepProps) => (
  <section class="panel step" aria-label={title}>
    <h2>{title}</h2>
    {made === undefined ? (
      children
    ) : (
      <p class="made">
        <strong>
          <bdi>{made.text}</bdi>
        </strong>
        <Button onClick={made.onAgain} label={`${texts.change}: ${title}`}>
          {texts.change}
        </Button>
      </p>
    )}
  </section>
)

const Placing = ({ chosen, agent, wish }: { chosen: Chosen; agent: string; wish: Wish }) => {
  const { point } = chosen
  const asked = point.disks.flatMap(({ name, size }) => {
    const to = wish.to.get(name)
    return to === undefined || to === NOWHERE || !to.startsWith('/') ? [] : [{ to, size }]
  })
  const key = JSON.stringify([agent, asked])
  const places = useWatched(useMade(() => placesOf(link, { agent, places: asked }), key))
  const found = places.value.value
  return (
    <>
      <ChoosePlaces point={point} wish={wish} places={places} />
      {found === null || wish.to.size === 0 ? null : (
        <section class="start" aria-label={texts.steps.start}>
          <h2>{texts.steps.start}</h2>
          <Start chosen={chosen} wish={wish} found={found} />
        </section>
      )}
    </>
  )
}

const AtHost = ({ chosen: { point }, wish }: { chosen: Chosen; wish: Wish }) => {
  const disks = point.disks
    .filter(({ name }) => wish.to.size === 0 || wish.to.has(name))
    .map(({ name }) => {
      const to = wish.to.get(name) ?? NOWHERE
      return { disk: name, to: to === NOWHERE ? offered('/var/tmp', point, name, zone.value) : to }
    })
  return (
    <details class="panel">
      <summary>{texts.atHost}</summary>
      <p>{texts.atHostSays}</p>
      <Copy text={atHost(point.id, disks)} label={texts.atHost} />
    </details>
  )
}

const WithPoint = ({ id, wish }: { id: string; wish: Wish }) => {
  const resource = useWatched(useMade(() => chosenOf(link, id), id))
  const { chosen, error } = { chosen: resource.value.value, error: resource.error.value }
  const again = (): void => filter({ ...unplaced(wish), point: null })
  if (chosen === null)
    return (
      <Step title={texts.steps.point}>
        {error === null ? <Loading rows={2} /> : <ErrorNote error={error} onRetry={() => void resource.refresh()} />}
        {error === null ? null : <Button onClick={again}>{texts.change}</Button>}
      </Step>
    )
  const { point } = chosen
  return (
    <>
      <Step
        title={texts.steps.machine}
        made={{ text: point.machine, onAgain: () => filter({ ...unplaced(wish), machine: null, point: null }) }}
      />
      <Step
        title={texts.steps.point}
        made={{
          text: `${timeText(point.timeMs, zone.value)} (${agoText(point.timeMs, Math.max(nowMs.value, point.timeMs))})`,
          onAgain: () => filter({ ...unplaced(wish), machine: point.machine, point: null }),
        }}
      />
      <Step title={texts.steps.places}>
        {point.lostBytes > 0 ? (
          <p>
            <Mark tone="bad">{texts.damagedPoint}</Mark>
          </p>
        ) : null}
        <ChooseAgent wish={wish} />
        {wish.agent === null ? null : <Placing key={wish.agent} chosen={chosen} agent={wish.agent} wish={wish} />}
      </Step>
      <AtHost chosen={chosen} wish={wish} />
    </>
  )
}

const Wizard = () => {
  const wish = wishOf(route.value.query)
  if (wish.point !== null) return <WithPoint id={wish.point} wish={wish} />
  const { machine } = wish
  if (machine === null)
    return (
      <Step title={texts.steps.machine}>
        <ChooseMachine />
      </Step>
    )
  return (
    <>
      <Step title={texts.steps.machine} made={{ text: machine, onAgain: () => filter({ machine: null }) }} />
      <Step title={texts.steps.point}>
        <ChoosePoint machine={machine} />
      </Step>
    </>
  )
}

export const RestoreView = () => (
  <div class="restore">
    <h1>{names.restore}</h1>
    {link.may('restores.start') ? <Wizard /> : null}
    <RestoreList />
  </div>
)
