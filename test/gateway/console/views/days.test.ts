// The view Days in a real browser: marks with words, the keyboard from day to day, and the points behind a day.
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { daily, DAY_MS, makeMachines, type MadeMachine } from '../made.ts'
import { RealMachine } from '../real-machine.ts'
import { ConsoleStand, findingsOfLooks, isTooWide, NARROW } from '../stand.ts'

const SHOTS = process.env['VARVE_SHOTS']

const MACHINES: readonly MadeMachine[] = [
  ...Array.from({ length: 90 }, (_, index) => ({ name: `web${String(index).padStart(3, '0')}`, days: daily(30, 3) })),
  { name: 'late1', days: daily(5, 31) },
  {
    name: 'mixed1',
    days: [
      ...daily(28, 3 + 4 * 24),
      { ageMs: 3 * DAY_MS, fullReason: 'size-changed' },
      { ageMs: 2 * DAY_MS, skipped: 'window' },
      { ageMs: DAY_MS, error: 'QEMU said no' },
      { ageMs: DAY_MS - 60_000 },
      { ageMs: DAY_MS / 8, error: 'QEMU said no' },
    ],
  },
]

let stand: ConsoleStand
let machine: RealMachine

beforeAll(async () => {
  stand = await ConsoleStand.start()
  machine = await RealMachine.start(stand)
  await makeMachines(stand, MACHINES)
  await machine.backUp()
})
afterEach(() => stand.closePages())
afterAll(async () => {
  await machine?.[Symbol.asyncDispose]()
  await stand?.[Symbol.asyncDispose]()
})

test('a day is told by its mark and in words, in any look', async () => {
  const { page, complaints } = await stand.open('viewer', '#/days')
  await page.getByRole('row', { name: /mixed1/u }).waitFor()
  await page
    .getByRole('button', { name: /mixed1, .*Read in full, not asked for: .*the disk has another size/u })
    .click()
  await page
    .getByRole('region', { name: /mixed1 on / })
    .getByText('Full read')
    .waitFor()
  // a part of the 93 rows
  expect(await page.locator('.table tbody tr').count()).toBeLessThan(70)
  if (SHOTS !== undefined) await page.screenshot({ path: `${SHOTS}/days many.png` })
  // all rows are alike: of one axe sees as much as of all
  await page.getByLabel('Part of a name').fill('mixed1')
  await page.getByRole('row', { name: /web000/u }).waitFor({ state: 'detached' })
  const shot = async (name: string) =>
    SHOTS === undefined ? null : page.screenshot({ path: `${SHOTS}/days-${name}.png` })
  expect(await findingsOfLooks(page, 'days', shot)).toEqual([])
  // however narrow the page is
  await page.setViewportSize(NARROW)
  await page.getByLabel('Part of a name').fill('')
  await page.getByRole('row', { name: /web000/u }).waitFor()
  expect(await page.locator('.table tbody tr').count()).toBeLessThan(70)
  expect(await isTooWide(page)).toBe(false)
  expect(complaints).toEqual([])
})

test('arrow keys go from day to day, Enter opens the points, and the address leads back there', async () => {
  const { page, complaints } = await stand.open('viewer', '#/days?q=1')
  const row = page.getByRole('row', { name: /db1/u })
  const today = row.locator('button').last()
  await today.waitFor()
  await today.focus()
  // keys that come faster than the page is drawn count each
  await page.evaluate(() => {
    for (const key of ['ArrowLeft', 'ArrowLeft', 'ArrowRight'])
      document.activeElement?.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }))
  })
  await page.keyboard.press('ArrowRight')
  await page.keyboard.press('Enter')
  await page.waitForURL(/machine=db1/u)
  const panel = page.getByRole('region', { name: /db1 on / })
  const point = panel.getByRole('link').filter({ has: page.locator('time') })
  await point.waitFor()
  expect(await point.getAttribute('href')).toMatch(/^#\/machine\/db1\?point=/u)
  await page.reload()
  await point.waitFor()
  await panel.getByRole('button', { name: 'Close' }).click()
  await panel.waitFor({ state: 'detached' })
  expect(complaints).toEqual([])
})

test('further machines come as somebody scrolls; filters narrow them; what is shown outlives the gateway', async () => {
  const { page, complaints } = await stand.open('auditor', '#/days?order=name')
  await page.getByRole('row', { name: /late1/u }).waitFor()
  await page.waitForFunction(() => {
    const table = document.querySelector('.table')!
    table.scrollTo({ top: 1e6 })
    return table.textContent.includes('web089')
  })
  await page.getByLabel('State now').selectOption('unprotected')
  await page.getByRole('row', { name: /web000/u }).waitFor({ state: 'detached' })
  await page.getByRole('row', { name: /late1/u }).waitFor()
  await stand.restartGateway(async () => {
    await page.getByText(/No connection to the gateway/u).waitFor()
    expect(await page.getByRole('row', { name: /late1/u }).count()).toBe(1)
  })
  await page.getByText(/No connection to the gateway/u).waitFor({ state: 'detached' })
  await page.getByLabel('Part of a name').fill('nobody')
  await page.getByText('No machine is like that').waitFor()
  expect(complaints).toEqual([])
})
