// The view Plans in a real browser: lanes of the next days, a change shown before it is saved, and retention as a what-if.
import type { Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { addAgent, addMachine, addPoint, setPlan } from '../../catalog.ts'
import { axeFindings, ConsoleStand, findingsOfLooks, isTooWide, NARROW } from '../stand.ts'

const SHOTS = process.env['VARVE_SHOTS']
const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS

let stand: ConsoleStand

beforeAll(async () => {
  stand = await ConsoleStand.start()
  const { catalog } = stand.gateway
  const tenant = await stand.gateway.addTenant('acme')
  const agent = await addAgent(catalog, tenant)
  for (let index = 1; index <= 9; index++) {
    const name = index <= 4 ? `db${index}` : `web${index}`
    const machine = await addMachine(catalog, tenant, agent, name)
    if (index > 2) continue
    for (let ago = 12; ago >= 0; ago--) {
      const timeMs = Date.now() - ago * DAY_MS - HOUR_MS
      await addPoint(catalog, tenant, machine, { timeMs, nowMs: timeMs })
    }
  }
  await setPlan(catalog, tenant, 'nightly', { schedule: '0 1 * * *', jitterMs: 3 * HOUR_MS, keep: { daily: 14 } })
  await setPlan(catalog, tenant, 'databases', { schedule: 'every 4h', keep: { last: 10 } }, { patterns: ['db*'] })
  await setPlan(catalog, tenant, 'target', { rpoMs: 6 * HOUR_MS }, { machines: ['web9'] })
})
afterEach(() => stand.closePages())
afterAll(async () => {
  await stand?.[Symbol.asyncDispose]()
})

/** A picture of all of a page, for people to look at. */
const shot = async (page: Page, name: string): Promise<void> => {
  if (SHOTS === undefined) return
  await page.setViewportSize({ width: page.viewportSize()!.width, height: 2600 })
  await page.screenshot({ path: `${SHOTS}/${name}.png` })
}

test('plans are lanes of the next days, with why one has none, and days as figures, in any look', async () => {
  const { page, complaints } = await stand.open('viewer', '#/plans')
  await page.getByRole('img', { name: /^databases: 4 machines. Next:/u }).waitFor()
  await page
    .getByText(/the gateway chooses the time/u)
    .first()
    .waitFor()
  await page.getByRole('img', { name: /^At once: at most/u }).waitFor()
  await page.getByText('Starts by day').click()
  await page.getByRole('columnheader', { name: 'databases' }).waitFor()
  expect(await page.getByRole('button', { name: 'New plan' }).count()).toBe(0)
  expect(await findingsOfLooks(page, 'plans', (name) => shot(page, `plans-${name}`))).toEqual([])
  expect(complaints).toEqual([])
})

test('a change is shown with what it removes before it can be saved, by keys', async () => {
  const { page, complaints } = await stand.open('owner', '#/plans')
  await page.getByRole('button', { name: 'databases' }).focus()
  await page.keyboard.press('Enter')
  await page.waitForURL(/plan=databases/u)
  expect(await page.getByRole('button', { name: 'Save this' }).isDisabled()).toBe(true)
  await page.getByLabel('Last', { exact: true }).fill('3')
  await page.getByRole('button', { name: 'What would these rules keep?' }).click()
  await page.getByText('14 go by these rules').waitFor()
  await page.getByText('6 go anyway, by the rules of now').waitFor()
  await page
    .getByRole('row', { name: /db1 .* Goes by these rules/u })
    .first()
    .waitFor()
  await page.getByLabel('Last', { exact: true }).press('Enter')
  await page.getByText('keep.last').waitFor()
  await page.getByText(/the next prune removes 14 restore points of 2 machines that stayed before/u).waitFor()
  expect(await axeFindings(page)).toEqual([])
  await shot(page, 'plans-edit-light')
  await page.getByLabel('Last', { exact: true }).fill('4')
  await page.getByText('You have changed more since: look at what changes again.').first().waitFor()
  expect(await page.getByRole('button', { name: 'Save this' }).isDisabled()).toBe(true)
  await page.getByRole('button', { name: 'Show what changes' }).click()
  await page.getByText(/removes 12 restore points/u).waitFor()
  await page.getByRole('button', { name: 'Save this' }).click()
  await page.getByText('Last 4').waitFor()
  // how machines are read: what is chosen is what is saved, and it stands so when the plan is opened again
  const missing = page.getByRole('checkbox', { name: 'the record of changes was gone' })
  await page.getByLabel('The guest’s file systems').selectOption('freeze-required')
  await missing.focus()
  await page.keyboard.press('Space')
  await page.getByRole('checkbox', { name: 'read-only' }).check()
  await page.getByLabel(/^Compare all again/u).fill('30')
  await page.getByRole('button', { name: 'Show what changes' }).click()
  await page.getByRole('row', { name: /freeze freeze-required/u }).waitFor()
  await page.getByRole('row', { name: /bitmap-missing/u }).waitFor()
  await page.getByRole('button', { name: 'Save this' }).click()
  await page.getByText('Saved.').waitFor()
  const { catalog } = stand.gateway
  const tenant = (await catalog.tenants.byName({ name: 'acme' }))!
  expect(await catalog.plans.get({ tenant: tenant.id, name: 'databases' })).toMatchObject({
    consistency: 'freeze-required',
    compareDays: 30,
    refuseFull: ['bitmap-missing'],
    refuseLeftOut: ['read-only'],
    keep: { last: 4 },
  })
  await page.reload()
  await missing.waitFor()
  expect(await missing.isChecked()).toBe(true)
  expect(await page.getByLabel('The guest’s file systems').inputValue()).toBe('freeze-required')
  expect(complaints).toEqual([])
})

test('an error of the gateway is told and nothing is saved; a plan is made and removed; a narrow form fits', async () => {
  const { page } = await stand.open('owner', '#/plans', { size: NARROW, theme: 'dark' })
  await page.getByRole('button', { name: 'New plan' }).click()
  await page.getByLabel('Name', { exact: true }).fill('extra')
  await page.getByRole('textbox', { name: /^Schedule/u }).fill('whenever')
  await page.getByRole('button', { name: 'Show what changes' }).click()
  await page.getByText('PARAMS_INVALID').waitFor()
  expect(await page.getByRole('button', { name: 'Save this' }).isDisabled()).toBe(true)
  await page.getByRole('textbox', { name: /^Schedule/u }).fill('every 6h')
  await page.getByRole('button', { name: 'Show what changes' }).click()
  await page.getByRole('button', { name: 'Save this' }).click()
  await page.waitForURL(/plan=extra/u)
  await page.getByRole('heading', { name: 'Plan extra' }).waitFor()
  await page.getByText('Saved.').waitFor()
  expect(await page.getByText('There is no such plan any more').count()).toBe(0)
  expect(await axeFindings(page)).toEqual([])
  expect(await isTooWide(page)).toBe(false)
  await shot(page, 'plans-edit-390-dark')
  await page.getByRole('button', { name: 'Remove plan …' }).click()
  await page.getByLabel(/^Type .*extra.* to confirm$/u).fill('extra')
  await page.getByRole('button', { name: 'Remove', exact: true }).click()
  await page.getByRole('button', { name: 'extra' }).waitFor({ state: 'detached' })
})

test('a viewer may not change a plan; a plan that is gone is told; the gateway goes and comes back', async () => {
  const { page } = await stand.open('viewer', '#/plans?plan=nightly')
  await page.getByText('Only an owner changes plans.').waitFor()
  expect(await page.getByRole('textbox', { name: /^Schedule/u }).isDisabled()).toBe(true)
  expect(await page.getByRole('checkbox', { name: 'the machine had moved' }).isDisabled()).toBe(true)
  expect(await page.getByRole('button', { name: 'What would these rules keep?' }).count()).toBe(0)
  await page.goto(`${stand.gateway.httpUrl}/#/plans?plan=%3Cimg%20src%3Dx%3E`)
  await page.getByText('There is no such plan any more').waitFor()
  await stand.restartGateway(async () => {
    await page.getByText(/No connection to the gateway/u).waitFor()
    await page.getByRole('img', { name: /^databases/u }).waitFor()
  })
  await page.getByText(/No connection to the gateway/u).waitFor({ state: 'detached', timeout: 20_000 })
})
