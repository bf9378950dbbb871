// How smooth the console is with very many machines: the first view, and the frames of a browser that scrolls through its list.
import type { Page } from 'playwright-core'
import { addAgent } from '../gateway/catalog.ts'
import { makePast, type Past } from '../gateway/console/made-history.ts'
import { RealMachine } from '../gateway/console/real-machine.ts'
import { ConsoleStand } from '../gateway/console/stand.ts'
import { settled } from '../gateway/console/tours.ts'
import { runGateway } from '../gateway/program.ts'
import { announced } from '../support/announced.ts'
import { TENANT } from '../support/gateway.ts'
import { judge, type Report, type ScenarioContext } from './scenario.ts'
import { median } from './statistics.ts'

const HOUR_MS = 3_600_000
const HOSTS = 100
const MACHINES_PER_HOST = 100
const POINTS_PER_MACHINE = 10

/** How far is scrolled for each frame, in pixels, and for how many frames. */
const STEP_PX = 400
const FRAMES = 600

interface Frames {
  readonly medianMs: number
  readonly p95Ms: number
  readonly worstMs: number
  readonly scrolledPx: number
}

interface Opening {
  readonly shownMs: number
  readonly bytes: number
}

const populate = async (stand: ConsoleStand, perHost: number): Promise<void> => {
  const { catalog } = stand.gateway
  const tenant = await stand.gateway.addTenant(TENANT)
  const pasts: Record<string, Past> = {}
  for (let host = 0; host < HOSTS; host++) {
    const agent = await addAgent(catalog, tenant, `host${host}`)
    const names = Array.from({ length: perHost }, (_, index) => `vm${host}-${index}`)
    await catalog.machines.declare({
      tenant: tenant.id,
      agent,
      machines: names.map((name) => announced(name)),
      nowMs: 1,
    })
    for (const [index, name] of names.entries())
      pasts[name] = {
        like: 'db1',
        agesMs: Array.from({ length: POINTS_PER_MACHINE }, (_, day) => (day * 24 + (index % 30)) * HOUR_MS),
      }
  }
  await stand.restartGateway(async () => makePast(stand.gateway.folder, pasts))
}

/** From the beginning to the first row, and what came over the wire by then. */
const openFirst = async (stand: ConsoleStand): Promise<Opening> => {
  const { page } = await stand.open('viewer', '#/protection')
  await page.getByRole('row', { name: /vm\d/u }).first().waitFor()
  const found = await page.evaluate(() => ({
    shownMs: performance.now(),
    bytes: [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')].reduce(
      (sum, entry) => sum + (entry as PerformanceResourceTiming).encodedBodySize,
      0,
    ),
  }))
  await page.context().close()
  return found
}

/** Scrolls a little with each frame, and tells how long the frames took. */
const scroll = async (page: Page, frames: number): Promise<Frames> => {
  const times = await page.evaluate(
    ([step, count]) =>
      new Promise<{ times: number[]; scrolledPx: number }>((resolve) => {
        const boxes = [...document.querySelectorAll('main, main *')].filter(
          (one) => one.scrollHeight > one.clientHeight + 500 && getComputedStyle(one).overflowY !== 'visible',
        )
        const box = boxes[0] ?? document.scrollingElement!
        const found: number[] = []
        let last = performance.now()
        const next = (now: number): void => {
          found.push(now - last)
          last = now
          box.scrollTop += step!
          if (found.length < count!) requestAnimationFrame(next)
          else resolve({ times: found.slice(1), scrolledPx: box.scrollTop })
        }
        requestAnimationFrame(next)
      }),
    [STEP_PX, frames],
  )
  const sorted = times.times.toSorted((a, b) => a - b)
  return {
    medianMs: median(sorted),
    p95Ms: sorted[Math.floor(sorted.length * 0.95)] ?? Number.NaN,
    worstMs: sorted.at(-1) ?? Number.NaN,
    scrolledPx: times.scrolledPx,
  }
}

const ms = (value: number): string => `${value.toFixed(1)} ms`

export const run = async ({ rounds, quick, say }: ScenarioContext): Promise<Report> => {
  const perHost = quick ? 5 : MACHINES_PER_HOST
  const machines = HOSTS * perHost
  say(`making ${machines} machines with ${machines * POINTS_PER_MACHINE} points`)
  await using stand = await ConsoleStand.start()
  {
    await using model = await RealMachine.start(stand, { name: 'db1' })
    await model.backUp()
  }
  await populate(stand, perHost)
  const at = ['--data', stand.gateway.folder, '--tenant', TENANT]
  await runGateway(['plan', 'set', 'nightly', '--rpo', '26h', '--keep-daily', '30', '--cover-others', ...at])
  const openings: Opening[] = []
  const scrolled: Frames[] = []
  for (let round = 0; round < rounds; round++) {
    say(`round ${round + 1}: opening, scrolling`)
    openings.push(await openFirst(stand))
    const { page, complaints } = await stand.open('viewer', '#/protection')
    await settled(page)
    scrolled.push(await scroll(page, quick ? 60 : FRAMES))
    if (complaints.length > 0) throw new Error(`the page complains: ${complaints.join('; ')}`)
    await page.context().close()
  }
  const shownMs = median(openings.map((one) => one.shownMs))
  const bytes = median(openings.map((one) => one.bytes))
  const p95Ms = median(scrolled.map((one) => one.p95Ms))
  return {
    goals: [
      judge(
        `first rows of ${machines} machines, from a page that is not there yet`,
        shownMs / 1000,
        { atMost: 1 },
        's',
      ),
      judge('loaded for the first view, compressed', bytes / 1024, { atMost: 150 }, 'KiB'),
      judge('95 of 100 frames while the list scrolls take', p95Ms, { atMost: 50 }, 'ms'),
    ],
    tables: [
      {
        title: 'Scrolling through the list of machines',
        heading: ['round', 'median frame', '95 of 100', 'worst', 'scrolled'],
        rows: scrolled.map((one, round) => [
          String(round + 1),
          ms(one.medianMs),
          ms(one.p95Ms),
          ms(one.worstMs),
          `${Math.round(one.scrolledPx)} px`,
        ]),
      },
      {
        title: 'First view',
        heading: ['round', 'first rows after', 'loaded, compressed'],
        rows: openings.map((one, round) => [String(round + 1), ms(one.shownMs), `${Math.round(one.bytes / 1024)} KiB`]),
      },
    ],
    notes: [
      `${machines} machines with ${POINTS_PER_MACHINE} points each are made in the catalog from a real one of a real machine; no agent ` +
        'is connected. The browser is a headless Chromium without a GPU on the same two cores as the gateway, at 1440 × 900; each ' +
        'frame scrolls by 400 px, more than anybody does, and the list reads its pages from the gateway meanwhile.',
    ],
    details: { openings, scrolled, bytes },
  }
}
