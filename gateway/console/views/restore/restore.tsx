// The view Restore: four steps to a restore that an agent carries out, each in the address, and the restores that run and ran.
import type { ComponentChildren } from 'preact'
import { useRef } from 'preact/hooks'
import { link, nowMs, zone } from '../../frame/console.ts'
import { filter, route } from '../../frame/router.ts'
import { Button, ErrorNote, Loading, Mark } from '../../parts/basics.tsx'
import { agoText, timeText } from '../../parts/format.ts'
import { useMade, useWatched } from '../../parts/hooks.ts'
import { chosenOf, placesOf, type Chosen, type Places } from '../../stores/restores.ts'
import { restore as texts } from '../../texts/restore.ts'
import { views as names } from '../../texts/views.ts'
import { AtHost } from './at-host.tsx'
import { ChooseMachine, ChoosePoint } from './choose.tsx'
import { RestoreList } from './list.tsx'
import { ChooseAgent, ChoosePlaces } from './places.tsx'
import { Start } from './start.tsx'
import { ChooseWay } from './way.tsx'
import { NOWHERE, targetsOf, unplaced, wishOf, type Wish } from './wish.ts'

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
  const targets = targetsOf(wish, point, zone.value)
  const how = wish.way === 'onto' ? 'onto' : 'new'
  const asked = point.disks.flatMap(({ name, size }) => {
    const to = targets.get(name)
    return to === undefined || to === NOWHERE || !to.startsWith('/') ? [] : [{ to, size, how } as const]
  })
  const key = JSON.stringify([agent, asked])
  const places = useWatched(useMade(() => placesOf(link, { agent, places: asked }), key))
  // while the agent looks at other places, the fields and the focus stay
  const before = useRef<Places | null>(null)
  before.current = places.value.value ?? before.current
  const found = before.current
  return (
    <>
      <ChoosePlaces
        point={point}
        wish={wish}
        targets={targets}
        found={found}
        error={places.error.value}
        onLookAgain={() => void places.refresh()}
      />
      {found === null || targets.size === 0 ? null : (
        <section class="start" aria-label={texts.steps.start}>
          <h2>{texts.steps.start}</h2>
          <Start
            key={JSON.stringify([wish.way, ...targets])}
            chosen={chosen}
            wish={wish}
            targets={targets}
            found={found}
          />
        </section>
      )}
    </>
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
        <ChooseWay wish={wish} />
        <ChooseAgent wish={wish} />
        {wish.agent === null ? null : <Placing key={wish.agent} chosen={chosen} agent={wish.agent} wish={wish} />}
      </Step>
      <AtHost point={point} wish={wish} />
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
