// The route that is shown, as a signal over the page's fragment, and the code of a sign-in link that comes in its place.
import { signal, type ReadonlySignal } from '@preact/signals'
import { codeOf, formatRoute, parseRoute, withQuery, type Route } from './route.ts'

const current = signal<Route>({ view: '', path: [], query: {} })

/** Code of a sign-in link that was opened here and is not used yet; null where there is none. */
export const loginCode = signal<string | null>(null)

const arrive = (): void => {
  const next = parseRoute(location.hash)
  const code = codeOf(next)
  if (code === null) {
    current.value = next
    return
  }
  // the code is good once, and nobody finds it in the address or the history
  history.replaceState(null, '', formatRoute(current.value))
  loginCode.value = code
}

arrive()
addEventListener('hashchange', arrive)

export const route: ReadonlySignal<Route> = current

/** Goes to a place; with `replace` the way back does not lead here. */
export const go = (next: Route, { replace = false } = {}): void => {
  const url = formatRoute(next)
  if (replace) history.replaceState(null, '', url)
  else history.pushState(null, '', url)
  current.value = next
}

/** Changes filters of the place that is shown. */
export const filter = (changes: Readonly<Record<string, string | null>>): void =>
  go(withQuery(current.value, changes), { replace: true })
