// The frame of the console in a real browser: signing in and out, the link that breaks, places, and what everybody can use.
import type { Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { VarveError } from '../../../../protocol/errors.ts'
import { ConsoleStand, findingsOfLooks } from '../stand.ts'

let stand: ConsoleStand

beforeAll(async () => {
  stand = await ConsoleStand.start()
})
afterEach(() => stand.closePages())
afterAll(async () => {
  await stand?.[Symbol.asyncDispose]()
})

/** What only this load of the page knows. */
const mark = (page: Page) => page.evaluate(() => void Object.assign(globalThis, { marked: true }))
const isMarked = (page: Page) => page.evaluate(() => Object.hasOwn(globalThis, 'marked'))

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
  await mark(page)
  await page.getByText('Display').click()
  await page.getByRole('button', { name: 'Sign out' }).click()
  await page.getByLabel('Token').waitFor()
  // what the person saw is gone with the page
  expect(await isMarked(page)).toBe(false)
  await page.reload()
  await page.getByLabel('Token').waitFor()
  expect(await page.evaluate(() => sessionStorage.length)).toBe(0)
  expect(complaints).toEqual([])
})

test('a sign-in link in an open tab asks before it ends a session, and leaves no code behind', async () => {
  const owner = await stand.gateway.connectAs(await stand.gateway.tokenFor('owner'))
  const { code } = await owner.call('login.issue', { subject: 'anna', role: 'auditor', ttlMs: 60_000 })
  owner.close(new VarveError('CANCELLED', 'done'))
  const { page, complaints } = await stand.open('viewer', '#/running')
  await page.getByText('No backup is running.').waitFor()
  await mark(page)
  const paste = () => page.evaluate((fragment) => void (location.hash = fragment), `#/login/${code}`)
  const dialog = page.getByRole('dialog')
  await paste()
  await dialog.getByText('It ends the session of \u2068test viewer\u2069.').waitFor()
  expect(page.url()).toMatch(/#\/running$/u)
  await dialog.getByRole('button', { name: 'Cancel' }).click()
  await dialog.waitFor({ state: 'detached' })
  await page.getByText('test viewer (viewer of acme)').waitFor()
  expect(await isMarked(page)).toBe(true)
  await paste()
  await dialog.getByRole('button', { name: 'Sign in' }).click()
  await page.getByText('anna (auditor of acme)').waitFor()
  expect(await isMarked(page)).toBe(false)
  expect(page.url()).toMatch(/#\/running$/u)
  expect(await page.evaluate(() => sessionStorage.getItem('varve.ended'))).toBe(null)
  // a used one ends the session too, and the new page says why
  await paste()
  await dialog.getByRole('button', { name: 'Sign in' }).click()
  await page.getByText('LOGIN_CODE_INVALID').waitFor()
  await page.getByLabel('Token').waitFor()
  expect(await page.evaluate(() => sessionStorage.getItem('varve.token'))).toBe(null)
  expect(complaints).toEqual([])
})

test('a dialog stays while what it asked for is under way', async () => {
  const { page } = await stand.open('viewer', '#/running')
  await page.getByText('No backup is running.').waitFor()
  await page.evaluate(() => {
    const silent = { binaryType: '', readyState: 0, bufferedAmount: 0, send: () => {}, close: () => {} }
    Object.assign(globalThis, {
      WebSocket: class extends EventTarget {
        constructor() {
          super()
          Object.assign(this, silent)
        }
      },
    })
    location.hash = '#/login/some'
  })
  const dialog = page.getByRole('dialog')
  await dialog.getByRole('button', { name: 'Sign in' }).click()
  expect(await dialog.getByRole('button', { name: 'Cancel' }).isDisabled()).toBe(true)
  for (const key of ['Escape', 'Escape', 'Escape']) await page.keyboard.press(key)
  // a second Escape closes it whatever the page says, and it opens again at once
  await dialog.getByRole('button', { name: 'Cancel' }).waitFor()
  expect(await dialog.getByRole('button', { name: 'Cancel' }).isDisabled()).toBe(true)
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

test('axe finds nothing on the first page, signed in and not, in any look', async () => {
  const { page } = await stand.open('owner', '')
  await page.getByText('No machine is backed up here yet').waitFor()
  await page.getByText('Display').click()
  await page.getByLabel('Times in').waitFor()
  expect(await findingsOfLooks(page, 'first')).toEqual([])
  const out = await stand.open(null, '')
  await out.page.getByLabel('Token').waitFor()
  expect(await findingsOfLooks(out.page, 'sign-in')).toEqual([])
})
