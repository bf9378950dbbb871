// What components need of signals and resources while they are shown.
import { signal } from '@preact/signals'
import { useEffect, useRef } from 'preact/hooks'

interface Watched {
  watch(): () => void
}

/** Keeps a resource or list up to date while the component is shown. */
export const useWatched = <W extends Watched>(watched: W): W => {
  useEffect(() => watched.watch(), [watched])
  return watched
}

/** The same value for as long as its inputs are the same, for stores that are made from filters. */
export const useMade = <T>(make: () => T, key: string): T => {
  const made = useRef<{ key: string; value: T } | null>(null)
  if (made.current?.key !== key) made.current = { key, value: make() }
  return made.current.value
}

/** As wide as the style sheets' narrow pages are at most. */
const NARROW = '(max-width: 640px)'

/** Whether the page is narrow; follows the window while the component is shown. */
export const useNarrow = (): boolean => {
  const isNarrow = useRef(signal(matchMedia(NARROW).matches)).current
  useEffect(() => {
    const query = matchMedia(NARROW)
    const look = (): void => void (isNarrow.value = query.matches)
    query.addEventListener('change', look)
    return () => query.removeEventListener('change', look)
  }, [])
  return isNarrow.value
}
