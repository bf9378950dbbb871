// The frame of the console in a real browser: signing in and out, the link that breaks, places, and what everybody can use.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { axeFindings, ConsoleStand, isTooWide, NARROW, WIDE } from '../stand.ts'

let stand: ConsoleStand

beforeAll(async () => {
  stand = await ConsoleStand.start()
})
afterAll(async () => {
  await stand?.[Symbol.asyncDispose]()
})

test('a token signs in, a wrong one is told with its code, and signing out forgets it', async () => {
  const { page, complaints } = await stand.open(null, '')
  await page.getByLabel('Token').fill('no.real.token')
  await page.getByRole('button', { name: 'Sign in', exact: true }).click()
  await page.getByText('TOKEN_MALFORMED').waitFor()
  await page.getByLabel('Token').fill(await stand.gateway.tokenFor('viewer'))
  await page.getByLabel('Stay signed in until this tab is closed').check()
  await page.getByRole('button', { name: 'Sign in', exact: true }).click()
  await page.getByText('test viewer (viewer of acme)').waitFor()
  await page.reload()
  await page.getByText('test viewer (viewer of acme)').waitFor()
  await page.getByText('Display').click()
  await page.getByRole('button', { name: 'Sign out' }).click()
  await page.getByLabel('Token').waitFor()
  await page.reload()
  await page.getByLabel('Token').waitFor()
  expect(await page.evaluate(() => sessionStorage.length)).toBe(0)
  expect(complaints).toEqual([])
})

test('without a machine the first view says what to do first', async () => {
  const { page } = await stand.open('owner', '')
  await page.getByText('No machine is backed up here yet').waitFor()
  await page.getByText('varve-agent enrol').waitFor()
})

test('a gateway that goes away and comes back is said and used again by itself', async () => {
  const { page } = await stand.open('viewer', '')
  await page.getByText('No machine is backed up here yet').waitFor()
  await stand.restartGateway(async () => {
    await page.getByText('No connection to the gateway').waitFor()
    // what was read stays
    await page.getByText('No machine is backed up here yet').waitFor()
  })
  await page.getByText('No connection to the gateway').waitFor({ state: 'detached' })
})

test('a place that is not there says so, and a hostile one is only text', async () => {
  const { page, complaints } = await stand.open('viewer', '#/<img src=x onerror=alert(1)>?%zz=<b>')
  await page.getByText('There is no such view').waitFor()
  await page.getByText('Go to the first view').click()
  await page.getByText('No machine is backed up here yet').waitFor()
  expect(complaints).toEqual([])
})

test('no outside request, no code from text, and no frame around it', async () => {
  const answer = await fetch(stand.gateway.httpUrl)
  const policy = answer.headers.get('content-security-policy') ?? ''
  for (const rule of ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", 'require-trusted-types-for'])
    expect(policy).toContain(rule)
  expect(await answer.text()).not.toMatch(/https?:/u)
})

test.each([
  ['wide and light', WIDE, 'light'],
  ['wide and dark', WIDE, 'dark'],
  ['narrow and light', NARROW, 'light'],
  ['narrow and dark', NARROW, 'dark'],
] as const)('axe finds nothing: %s', async (_name, size, theme) => {
  const { page } = await stand.open('owner', '', { size, theme })
  await page.getByText('No machine is backed up here yet').waitFor()
  expect(await axeFindings(page)).toEqual([])
  expect(await isTooWide(page)).toBe(false)
  const out = await stand.open(null, '', { size, theme })
  await out.page.getByLabel('Token').waitFor()
  expect(await axeFindings(out.page)).toEqual([])
  expect(await isTooWide(out.page)).toBe(false)
})
