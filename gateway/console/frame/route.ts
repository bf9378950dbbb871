// Where in the console a person is, as the page's fragment says it: a view, what it is about, and its filters.

export interface Route {
  /** Name of the view; empty for the first one. */
  readonly view: string
  /** What it is about, such as a machine's name. */
  readonly path: readonly string[]
  readonly query: Readonly<Record<string, string>>
}

const decoded = (text: string): string => {
  try {
    return decodeURIComponent(text)
  } catch {
    // as it stands: a link that was cut off still leads somewhere
    return text
  }
}

/** The route of a fragment such as `#/machine/db1?point=3f2a`; whatever it is, this never throws. */
export const parseRoute = (fragment: string): Route => {
  const [pathText = '', queryText = ''] = fragment.replace(/^#?\/?/u, '').split(/\?(.*)/su, 2)
  const [view = '', ...path] = pathText.split('/').map(decoded)
  return { view, path: path.filter((part) => part !== ''), query: Object.fromEntries(new URLSearchParams(queryText)) }
}

/** The one-time code where the place is that of a sign-in link; null for any other. */
export const codeOf = ({ view, path }: Route): string | null => (view === 'login' ? (path[0] ?? null) : null)

export const formatRoute = ({ view, path, query }: Route): string => {
  const search = new URLSearchParams(query).toString()
  return `#/${[view, ...path].map(encodeURIComponent).join('/')}${search === '' ? '' : `?${search}`}`
}

/** The address of a view within the console. */
export const to = (view: string, path: readonly string[] = [], query: Route['query'] = {}): string =>
  formatRoute({ view, path, query })

/** The same place with other filters; null removes one. */
export const withQuery = (route: Route, changes: Readonly<Record<string, string | null>>): Route => {
  const query = Object.entries({ ...route.query, ...changes }).flatMap(([name, value]) =>
    value === null || value === '' ? [] : [[name, value] as const],
  )
  return { ...route, query: Object.fromEntries(query) }
}
