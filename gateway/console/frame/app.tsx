// The frame around the views: navigation, who is signed in, how the connection stands, and the view itself.
import { useSignal, useSignalEffect } from '@preact/signals'
import type { ComponentType } from 'preact'
import { useEffect, useMemo, useRef } from 'preact/hooks'
import { asVarveError, type VarveError } from '../../../protocol/errors.ts'
import { Button, Empty, ErrorNote, Loading, Select } from '../parts/basics.tsx'
import { common } from '../texts/common.ts'
import { frame as texts } from '../texts/frame.ts'
import { views as names } from '../texts/views.ts'
import { VIEWS, type View } from '../views/views.ts'
import { chooseTheme, chooseZone, link, theme, zone, type Theme } from './console.ts'
import { Banner } from './banner.tsx'
import { LoginAsk } from './login-ask.tsx'
import { to } from './route.ts'
import { route } from './router.ts'
import { SignIn } from './sign-in.tsx'

const allowed = (): View[] => VIEWS.filter(({ needs }) => link.may(needs))

/** The view of the route; the first one where it names none; null where there is no such one for this person. */
const shownView = (): View | null => {
  const views = allowed()
  const { view } = route.value
  return (view === '' ? views.find(({ isListed }) => isListed) : views.find(({ name }) => name === view)) ?? null
}

const zones = (): string[] => [
  ...new Set([Intl.DateTimeFormat().resolvedOptions().timeZone, 'UTC', ...Intl.supportedValuesOf('timeZone')]),
]

const Choices = () => {
  const choices = useMemo(() => zones().map((name) => ({ value: name, text: name })), [])
  return (
    <div>
      <Select
        label={texts.theme}
        value={theme.value}
        choices={Object.entries(texts.themes).map(([value, text]) => ({ value, text }))}
        onChoose={(value) => chooseTheme(value as Theme)}
      />
      <Select label={texts.zone} value={zone.value} choices={choices} onChoose={chooseZone} />
      <Button onClick={() => link.signOut()}>{texts.signOut}</Button>
    </div>
  )
}

const Settings = () => {
  // hundreds of zones, which hardly anybody looks at
  const isOpen = useSignal(false)
  return (
    <details class="settings" onToggle={(event) => (isOpen.value = event.currentTarget.open)}>
      <summary>{texts.settings}</summary>
      {isOpen.value ? <Choices /> : null}
    </details>
  )
}

const Header = ({ onSkip }: { onSkip: () => void }) => {
  const person = link.person.value
  const shown = shownView()
  if (person === null) return null
  return (
    <header>
      <button type="button" class="button skip" onClick={onSkip}>
        {texts.skip}
      </button>
      <a class="product" href={to('')}>
        {common.product}
      </a>
      <nav aria-label={texts.views}>
        {allowed()
          .filter(({ isListed }) => isListed)
          .map(({ name }) => (
            <a key={name} href={to(name)} aria-current={shown?.name === name ? 'page' : undefined}>
              {names[name]}
            </a>
          ))}
      </nav>
      <span class="person">{texts.signedInAs(person.subject, person.role, person.tenant)}</span>
      <Settings />
    </header>
  )
}

const Shown = ({ view }: { view: View }) => {
  const component = useSignal<ComponentType | null>(null)
  const error = useSignal<VarveError | null>(null)
  const load = (): void => {
    error.value = null
    view.load().then(
      (loaded) => (component.value = loaded),
      (thrown: unknown) => (error.value = asVarveError(thrown)),
    )
  }
  useEffect(load, [view])
  if (error.value !== null) return <ErrorNote error={error.value} onRetry={load} />
  const Component = component.value
  return Component === null ? <Loading /> : <Component />
}

export const App = () => {
  const main = useRef<HTMLElement>(null)
  const view = shownView()
  useSignalEffect(() => {
    document.documentElement.dataset['theme'] = theme.value
  })
  const title = view === null ? common.product : `${names[view.name]} – ${common.product}`
  useEffect(() => {
    document.title = title
  }, [title])
  const isFirst = useRef(true)
  const place = `${route.value.view}/${route.value.path.join('/')}`
  useEffect(() => {
    // who uses the keyboard or a reader begins at the new view
    if (!isFirst.current) main.current?.focus()
    isFirst.current = false
  }, [place])
  if (link.person.value === null) return <SignIn />
  return (
    <>
      <Header onSkip={() => main.current?.focus()} />
      <Banner />
      <LoginAsk />
      <main ref={main} tabIndex={-1}>
        {view === null ? (
          <Empty title={texts.noView}>
            <p>{texts.noViewHint}</p>
            <a href={to('')}>{texts.toFirst}</a>
          </Empty>
        ) : (
          <Shown key={view.name} view={view} />
        )}
      </main>
    </>
  )
}
