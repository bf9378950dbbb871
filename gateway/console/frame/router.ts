// The route that is shown, as a signal over the page's fragment.
import { signal, type ReadonlySignal } from '@preact/signals'
import { formatRoute, parseRoute, withQuery, type Route } from './route.ts'

const current = signal<Route>(parseRoute(location.hash))

addEventListener('hashchange', () => (current.value = parseRoute(location.hash)))

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
