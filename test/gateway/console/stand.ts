// What tests of the console share: a real gateway, a headless Chromium, and pages that are signed in by role.
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import type { AxeResults } from 'axe-core'
import type { Browser, BrowserContext, Page } from 'playwright-core'
import type { Role } from '../../../protocol/claims.ts'
import { startBrowser } from '../../support/browser.ts'
import { startGateway, type TestGateway } from '../../support/gateway.ts'
import { tempFolder, type TempFolder } from '../../support/temp.ts'
import { unlike } from './looks.ts'

export const WIDE = { width: 1440, height: 900 }
export const NARROW = { width: 390, height: 844 }

export interface Looks {
  readonly size?: { readonly width: number; readonly height: number }
  readonly theme?: 'light' | 'dark'
  /** Where the page comes from, if not from the gateway itself. */
  readonly origin?: string
  /** The test moves the time of day of the page. */
  readonly hasOwnClock?: boolean
}

/** A page of the console, and what it complained of. */
export interface Shown {
  readonly page: Page
  /** What the page printed or threw; a refused connection is no fault of the page. */
  readonly complaints: readonly string[]
}

const AXE = createRequire(import.meta.url).resolve('axe-core/axe.min.js')

export class ConsoleStand implements AsyncDisposable {
  readonly folder: TempFolder
  readonly #browser: Browser
  readonly #contexts = new Set<BrowserContext>()
  #gateway: TestGateway

  private constructor(folder: TempFolder, gateway: TestGateway, browser: Browser) {
    this.folder = folder
    this.#gateway = gateway
    this.#browser = browser
  }

  static async start(): Promise<ConsoleStand> {
    await using resources = new AsyncDisposableStack()
    const folder = resources.use(await tempFolder())
    const gateway = resources.use(await startGateway({ folder: folder.join('gateway') }))
    const browser = await startBrowser()
    resources.move()
    return new ConsoleStand(folder, gateway, browser)
  }

  get gateway(): TestGateway {
    return this.#gateway
  }

  /** Stops the gateway, so that every connection breaks, and starts it again at the same address. */
  async restartGateway(whileAway: () => Promise<void> = async () => {}): Promise<void> {
    const { port, folder } = this.#gateway
    await this.#gateway[Symbol.asyncDispose]()
    await whileAway()
    this.#gateway = await startGateway({ folder, port })
  }

  /** Opens a place of the console, signed in with this role's token, or not at all. */
  async open(role: Exclude<Role, 'agent'> | null, place: string, looks: Looks = {}): Promise<Shown> {
    return await this.openWith(role === null ? null : await this.#gateway.tokenFor(role), place, looks)
  }

  /** The same with a token. */
  async openWith(token: string | null, place: string, looks: Looks = {}): Promise<Shown> {
    const { size = WIDE, theme = 'light', origin = this.#gateway.httpUrl, hasOwnClock = false } = looks
    const context = await this.#browser.newContext({ viewport: size, colorScheme: theme, reducedMotion: 'reduce' })
    this.#contexts.add(context)
    if (token !== null)
      await context.addInitScript((given) => {
        // a reload goes on with what the page has kept
        if (sessionStorage.getItem('test.opened') === null) sessionStorage.setItem('varve.token', given)
        sessionStorage.setItem('test.opened', 'yes')
      }, token)
    const page = await context.newPage()
    if (hasOwnClock) await page.clock.install()
    const complaints: string[] = []
    page.on('pageerror', (error) => complaints.push(String(error)))
    page.on('console', (message) => {
      if (!/WebSocket connection to .* failed|net::ERR_CONNECTION_(?:REFUSED|RESET)/u.test(message.text()))
        complaints.push(message.text())
    })
    await page.goto(`${origin}/${place}`)
    return { page, complaints }
  }

  /** Closes what was opened, so that the next test has the processor for itself. */
  async closePages(): Promise<void> {
    await Promise.all([...this.#contexts].map((context) => context.close()))
    this.#contexts.clear()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#browser.close()
    await this.#gateway[Symbol.asyncDispose]()
    await this.folder[Symbol.asyncDispose]()
  }
}

/** What only colours decide, where the same page was looked at in others. */
const COLOUR_RULES = ['color-contrast', 'link-in-text-block']

/** What axe finds wrong on the page, one line each; WCAG 2.2 AA and best practices, or these rules of them. */
export const axeFindings = async (page: Page, rules?: readonly string[]): Promise<string[]> => {
  if (!(await page.evaluate(() => 'axe' in globalThis))) await page.evaluate(await readFile(AXE, 'utf8'))
  const options = { resultTypes: ['violations'], ...(rules === undefined ? {} : { runOnly: rules }) }
  const { violations } = await page.evaluate<AxeResults>(`axe.run(document, ${JSON.stringify(options)})`)
  return violations.flatMap(({ id, help, nodes }) =>
    nodes.map(({ html, failureSummary = '' }) => `${id}: ${help}: ${html.slice(0, 160)} (${failureSummary})`),
  )
}

/** Whether the page can be scrolled sideways, which no width should make it. */
export const isTooWide = (page: Page): Promise<boolean> =>
  page.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth)

/**
 * What is wrong with the page at a desk and in a hand, in light and dark, one line each: all rules of axe at each width, those
 * of colours in each theme, and how each looks beside its picture, named as `NAME-1440-dark`. `onLook` sees each look before it
 * is checked, named as `1440-dark`; the page is wide and light after it.
 */
export const findingsOfLooks = async (
  page: Page,
  picture: string,
  onLook: (name: string) => Promise<unknown> = async () => null,
): Promise<string[]> => {
  const found: string[] = []
  for (const size of [WIDE, NARROW])
    for (const theme of ['light', 'dark'] as const) {
      await page.setViewportSize(size)
      await page.emulateMedia({ colorScheme: theme })
      // what follows the width has followed it
      await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))))
      const name = `${size.width}-${theme}`
      await onLook(name)
      const wrong = await axeFindings(page, theme === 'light' ? undefined : COLOUR_RULES)
      if (await isTooWide(page)) wrong.push('it is wider than its window')
      const other = await unlike(page, `${picture}-${name}`)
      if (other !== null) wrong.push(other)
      found.push(...wrong.map((text) => `${name}: ${text}`))
    }
  await page.setViewportSize(WIDE)
  await page.emulateMedia({ colorScheme: 'light' })
  return found
}
