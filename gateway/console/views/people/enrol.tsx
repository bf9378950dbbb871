// Enrolling a host: one command to paste, shown once, and whether the host has come.
import { useSignal, type Signal } from '@preact/signals'
import { asVarveError, type VarveError } from '../../../../protocol/errors.ts'
import type { Result } from '../../../../protocol/methods.ts'
import { link, nowMs } from '../../frame/console.ts'
import { to } from '../../frame/route.ts'
import { route } from '../../frame/router.ts'
import { Button, ErrorNote, Field, Mark, Select, Time } from '../../parts/basics.tsx'
import { Copy } from '../../parts/copy.tsx'
import { countText } from '../../parts/format.ts'
import { useMade, useWatched } from '../../parts/hooks.ts'
import { actionsOf, enrolledOf } from '../../stores/people.ts'
import { enrol as texts, people } from '../../texts/people.ts'
import { enrolCommand, gatewayAddress } from './enrol-command.ts'
import { LIFETIMES, lifetimeChoices, type Lifetime } from './shown.tsx'

const actions = actionsOf(link)

interface Made extends Result<'enrolments.issue'> {
  readonly address: string
}

const Form = ({ onMade }: { onMade: (made: Made) => void }) => {
  const isPlatform = link.person.value?.tenant === null
  const tenant = useSignal(route.value.query['tenant'] ?? '')
  const address = useSignal(gatewayAddress(location.href))
  const life = useSignal<Lifetime>('hour')
  const error = useSignal<VarveError | null>(null)
  const isBusy = useSignal(false)
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault()
    isBusy.value = true
    error.value = null
    try {
      const of = isPlatform ? { tenant: tenant.value.trim() } : {}
      onMade({ ...(await actions.enrol({ ...of, ttlMs: LIFETIMES[life.value] })), address: address.value.trim() })
    } catch (thrown) {
      error.value = asVarveError(thrown)
    }
    isBusy.value = false
  }
  return (
    <form class="panel form" onSubmit={(event) => void submit(event)}>
      <h2>{texts.title}</h2>
      <p>{texts.intro}</p>
      {isPlatform ? (
        <Field
          label={texts.tenant}
          value={tenant.value}
          required
          autocomplete="off"
          onInput={(event) => (tenant.value = event.currentTarget.value)}
        />
      ) : null}
      <Field
        label={texts.address}
        hint={texts.addressHint}
        value={address.value}
        required
        pattern="wss?://[^\/?# ]+"
        spellcheck={false}
        autocomplete="off"
        onInput={(event) => (address.value = event.currentTarget.value)}
      />
      <Select
        label={people.lifetime}
        value={life.value}
        choices={lifetimeChoices(['hour', 'day', 'week'])}
        onChoose={(value) => (life.value = value as Lifetime)}
      />
      {error.value === null ? null : <ErrorNote error={error.value} />}
      <div class="actions">
        <Button type="submit" kind="main" disabled={isBusy.value}>
          {texts.make}
        </Button>
      </div>
    </form>
  )
}

/** Whether the host has come; it is asked every two seconds while this is shown. */
const Coming = ({ made }: { made: Made }) => {
  const enrolled = useWatched(useMade(() => enrolledOf(link, made.id), made.id))
  const agent = enrolled.value.value
  if (agent === null || agent === 'none') {
    if (nowMs.value > made.expiresMs) return <Mark tone="bad">{texts.expired}</Mark>
    return <Mark tone="busy">{texts.waiting}</Mark>
  }
  const { host, link: session } = agent
  return (
    <>
      <p>
        <Mark tone="good">{texts.came(host)}</Mark>
      </p>
      <p>
        {session === null ? (
          <Mark tone="busy">{texts.connecting}</Mark>
        ) : (
          <Mark tone="good">{texts.connected(countText(session.machines ?? 0))}</Mark>
        )}
      </p>
      <a href={to('people', ['agents'])}>{texts.toAgents}</a>
    </>
  )
}

const Command = ({ made, onAgain }: { made: Made; onAgain: () => void }) => (
  <section class="panel">
    <h2>{texts.command}</h2>
    <p>
      <Mark tone="warn">{texts.once}</Mark>
    </p>
    <p>
      {texts.ends} <Time timeMs={made.expiresMs} />. {made.certificate === null ? null : texts.certificate}
    </p>
    {made.address.startsWith('ws:') ? (
      <p>
        <Mark tone="warn">{texts.plain}</Mark>
      </p>
    ) : null}
    <Copy text={enrolCommand(made)} label={texts.command} />
    <div role="status" class="coming">
      {link.may('agents.list') ? <Coming made={made} /> : <p>{texts.unseen}</p>}
    </div>
    <div class="actions">
      <Button onClick={onAgain}>{texts.again}</Button>
    </div>
  </section>
)

export const Enrol = () => {
  // in this component alone: who leaves it has let the token go
  const made: Signal<Made | null> = useSignal<Made | null>(null)
  return (
    <div class="scrolls">
      {made.value === null ? (
        <Form onMade={(one) => (made.value = one)} />
      ) : (
        <Command made={made.value} onAgain={() => (made.value = null)} />
      )}
    </div>
  )
}
