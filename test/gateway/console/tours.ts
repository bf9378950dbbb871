// Where the console's tours go: an address of every view for a machine with restore points, and when a view shows itself.
import type { Page } from 'playwright-core'
import { VIEWS, type View } from '../../../gateway/console/views/views.ts'
import { METHODS } from '../../../protocol/methods.ts'
import type { Role } from '../../../protocol/claims.ts'

export type PersonRole = Exclude<Role, 'agent'>

export interface Toured {
  readonly machine: string
  /** The newest of its points. */
  readonly point: string
}

/** The address of a view; those that are of a machine or a point name it. */
export const placeOf = ({ name }: View, { machine, point }: Toured): string => {
  const places: Readonly<Record<string, string>> = {
    machine: `#/machine/${machine}`,
    changes: `#/changes/${machine}?to=${point}`,
    restore: `#/restore?point=${point}`,
  }
  return places[name] ?? `#/${name}`
}

/** The views that somebody of this role has, by what the protocol says of roles. */
export const viewsOf = (role: PersonRole): View[] =>
  VIEWS.filter(({ needs }) => (METHODS[needs].roles as readonly string[]).includes(role))

/** Waits until the view is there: nothing of it is being read any more, and it has something to say. */
export const settled = async (page: Page): Promise<void> => {
  await page.locator('main').waitFor()
  await page.waitForFunction(() => {
    const main = document.querySelector('main')
    return main !== null && main.querySelector('.loading') === null && main.textContent.trim() !== ''
  })
}

/** What somebody could press in this view, in words. */
export const acts = async (page: Page): Promise<string[]> => {
  const buttons = await page.locator('main').getByRole('button').all()
  return (await Promise.all(buttons.map((button) => button.textContent()))).map((text) => (text ?? '').trim())
}
