// What every view and store of the page works with: the one link, and how times are shown.
import { signal } from '@preact/signals'
import { clock } from '../net/clock.ts'
import { takeEnd, keepEnd } from '../net/ended.ts'
import { connectHere, Link } from '../net/link.ts'

export const link = new Link({
  connect: () => connectHere(location.href),
  clock,
  storage: sessionStorage,
  ended: takeEnd(sessionStorage),
  // a new page knows nothing of what the person before has seen
  onPersonLeft: (error) => {
    keepEnd(sessionStorage, error)
    location.reload()
  },
})

const ZONE = 'varve.zone'
const THEME = 'varve.theme'

/** An IANA time zone in which times are shown; the browser's own where the person chose none. */
export const zone = signal<string>(localStorage.getItem(ZONE) ?? Intl.DateTimeFormat().resolvedOptions().timeZone)

export const chooseZone = (name: string): void => {
  zone.value = name
  localStorage.setItem(ZONE, name)
}

export type Theme = 'system' | 'light' | 'dark'

const themes: readonly string[] = ['light', 'dark']
const stored = localStorage.getItem(THEME) ?? ''

export const theme = signal<Theme>(themes.includes(stored) ? (stored as Theme) : 'system')

export const chooseTheme = (name: Theme): void => {
  theme.value = name
  if (name === 'system') localStorage.removeItem(THEME)
  else localStorage.setItem(THEME, name)
}

/** The time of day, four times a minute: ages and countdowns follow it. */
export const nowMs = signal(Date.now())
setInterval(() => (nowMs.value = Date.now()), 15_000)
