// The view People and things in a real browser: agents, enrolment, tenants, tokens, notifications and the audit log, by role.
import { generateKeyPairSync } from 'node:crypto'
import type { Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { enrol } from '../../../../gateway/auth/tokens.ts'
import { enrolHost } from '../../../../agent/enrol.ts'
import { Identity } from '../../../../agent/identity.ts'
import { Receiver } from '../../notify/servers.ts'
import { unlike } from '../looks.ts'
import { axeFindings, ConsoleStand, isTooWide, NARROW, type Shown } from '../stand.ts'

const SHOTS = process.env['VARVE_SHOTS']

/** What must be shown as text, whoever names things so. */
const HOSTILE = '<img src=x onerror=document.title=1>\u202Egnp.exe'

/** A name within a sentence, which must not turn the words around it. */
const shownAs = (name: string): string => `\u2068${name}\u2069`

let stand: ConsoleStand

const shot = async (page: Page, name: string): Promise<void> => {
  if (SHOTS !== undefined) await page.screenshot({ path: `${SHOTS}/people-${name}.png`, fullPage: true })
}

const isClean = async ({ page, complaints }: Shown): Promise<void> => {
  expect(await axeFindings(page)).toEqual([])
  expect(await isTooWide(page)).toBe(false)
  expect(complaints).toEqual([])
}

beforeAll(async () => {
  stand = await ConsoleStand.start()
  const { gateway } = stand
  const identity = await gateway.enrolAgent(stand.folder.join('h1'))
  const peer = await gateway.connectAgent(identity, ['db1', 'db2'])
  const relay = { commands: ['query-status', 'query-*'], more: 2 }
  const machines = ['db1', 'db2'].map((name) => ({ name, uuid: null, here: true }))
  await peer.call('agent.inventory', { host: 'h1', machines, jobs: [], relay })
  const { publicKey } = generateKeyPairSync('ed25519')
  const enrolling = { publicKey: publicKey.export({ format: 'jwk' }).x!, nowMs: Date.now(), address: 'test' }
  await enrol(gateway.authority, { ...enrolling, token: await gateway.enrolmentToken(), host: HOSTILE })
})
afterEach(() => stand.closePages())
afterAll(async () => await stand?.[Symbol.asyncDispose]())

test('agents: what each is, its commands by the keyboard, a site, and a revocation that has to be typed', async () => {
  const shown = await stand.open('owner', '#/people/agents')
  const { page } = shown
  const row = page.getByRole('row', { name: /Connected/u })
  await row.waitFor()
  expect(await page.getByRole('row', { name: /Never connected/u }).innerText()).toContain(HOSTILE)
  await page.getByRole('button', { name: /of QMP through/u }).focus()
  await page.keyboard.press('Enter')
  await page.getByRole('dialog').getByText('query-*').waitFor()
  await page.getByText('2 more are not listed here.').waitFor()
  await page.keyboard.press('Escape')
  await row.getByRole('button', { name: /^Site of/u }).click()
  await page.getByLabel('Site', { exact: true }).fill('dc1')
  await page.keyboard.press('Enter')
  await row.getByText('dc1').waitFor()
  await isClean(shown)
  expect(await unlike(page, 'agents')).toBe(null)
  await shot(page, 'agents')
  await page.getByRole('button', { name: `Revoke the agent of ${shownAs(HOSTILE)}` }).click()
  const dialog = page.getByRole('dialog')
  expect(await dialog.getByRole('button', { name: 'Revoke' }).isDisabled()).toBe(true)
  await dialog.getByRole('textbox').fill(HOSTILE)
  expect(await axeFindings(page)).toEqual([])
  await shot(page, 'agents-revoke')
  await dialog.getByRole('button', { name: 'Revoke' }).click()
  await page.getByRole('button', { name: /^1\s*Revoked/u }).click()
  await page.waitForURL(/state=revoked/u)
  expect(await page.getByRole('row').count()).toBe(2)
  expect(await page.title()).not.toBe('1')
})

test('a host is enrolled by one command that is shown once, and the page sees it come', async () => {
  const shown = await stand.open('owner', '#/people/enrol', { theme: 'dark' })
  const { page } = shown
  await page.getByRole('button', { name: 'Make the command' }).click()
  const command = await page.locator('pre').innerText()
  expect(command).toContain(`--gateway ${stand.gateway.url} --token -`)
  const token = /--token - .*\n(\S+)\nEOF/u.exec(command)![1]!
  await page.getByText('Waiting for the host…').waitFor()
  await isClean(shown)
  await shot(page, 'enrol-dark')
  expect(page.url()).not.toContain(token)
  const state = stand.folder.join('h2')
  await enrolHost({ gateway: stand.gateway.url, ca: null, token, state })
  await page.getByText('has enrolled').waitFor()
  await stand.gateway.connectAgent(await Identity.load(state), ['web1'])
  await page.getByText('Its agent is connected. Machines it serves: 1.').waitFor()
  await page.getByRole('link', { name: 'Show the agents' }).click()
  await page.waitForURL(/people\/agents/u)
  await page.goBack()
  await page.getByRole('button', { name: 'Make the command' }).waitFor()
  expect(await page.content()).not.toContain(token)
})

test('a token is shown once, signs in, and is revoked', async () => {
  const shown = await stand.open('owner', '#/people/tokens')
  const { page } = shown
  await page.getByRole('button', { name: 'Issue a token…' }).click()
  const dialog = page.getByRole('dialog')
  await dialog.getByLabel('For whom').fill(HOSTILE)
  await shot(page, 'tokens-issue')
  await dialog.getByRole('button', { name: 'Issue' }).click()
  const token = await page.locator('pre').innerText()
  await page.getByRole('button', { name: /^Copy/u }).waitFor()
  await isClean(shown)
  await shot(page, 'tokens')
  const session = await stand.gateway.sessionAs(token)
  expect(session.welcome).toMatchObject({ subject: HOSTILE, role: 'viewer' })
  await page.getByRole('button', { name: 'I have it' }).click()
  expect(await page.content()).not.toContain(token)
  await page.getByRole('button', { name: `Revoke the token of ${shownAs(HOSTILE)}` }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'Revoke' }).click()
  expect((await session.peer.closed).message).toContain('revoked')
  await page.getByRole('row', { name: /gnp/u }).waitFor({ state: 'detached' })
})

test('a target is added and tested, its rule and a mute are there, and its secret is not', async () => {
  await using receiver = await Receiver.listen()
  const secret = `${receiver.url}/hook/s3cret`
  const shown = await stand.open('platform', '#/people/notifications')
  const { page } = shown
  await page.getByRole('button', { name: 'Add a target…' }).click()
  const dialog = page.getByRole('dialog')
  await dialog.getByLabel('Name').fill('desk')
  await dialog.getByLabel('Kind').selectOption('webhook')
  await dialog.getByLabel('URL').fill(secret)
  await dialog.getByRole('button', { name: 'Add' }).click()
  await page.getByRole('button', { name: 'Send a test to desk' }).click()
  await page.getByText('The test to desk was taken').waitFor()
  expect(receiver.requests).toHaveLength(1)
  await page.getByText('warnings and errors').first().waitFor()
  await page.getByRole('button', { name: 'Mute…' }).click()
  await page.getByRole('dialog').getByLabel('Why').fill(HOSTILE)
  await page.getByRole('dialog').getByRole('button', { name: 'Mute' }).click()
  await page.getByRole('button', { name: `End the mute: ${shownAs(HOSTILE)}` }).waitFor()
  await isClean(shown)
  expect(await unlike(page, 'notifications')).toBe(null)
  await shot(page, 'notifications')
  expect(await page.content()).not.toContain('s3cret')
  await page.getByRole('button', { name: `End the mute: ${shownAs(HOSTILE)}` }).click()
  await page.getByText('Nothing is muted.').waitFor()
})

test('the audit log is searched, says so in its address, and the platform checks its chain', async () => {
  const shown = await stand.open('auditor', '#/people/audit')
  const { page } = shown
  await page.getByRole('row', { name: /agents\.setSite/u }).waitFor()
  await page.getByRole('searchbox').fill('DC1')
  await page.keyboard.press('Enter')
  await page.waitForURL(/contains=DC1/u)
  await page.getByRole('row', { name: /tokens\.issue/u }).waitFor({ state: 'detached' })
  await page.getByRole('row', { name: /agents\.setSite/u }).waitFor()
  expect(await page.getByRole('row').count()).toBe(2)
  await isClean(shown)
  expect(await unlike(page, 'audit')).toBe(null)
  await shot(page, 'audit')
  await page.getByRole('searchbox').fill('nothing is like that')
  await page.keyboard.press('Enter')
  await page.getByText('No entry is like that').waitFor()
  expect(await page.getByRole('button', { name: 'Check all of it now' }).count()).toBe(0)
  const platform = await stand.open('platform', '#/people/audit')
  await platform.page.getByRole('button', { name: 'Check all of it now' }).click()
  await platform.page.getByText(/All \d+ entries are as they were written/u).waitFor()
})

test('the platform sees tenants first, adds one, sets a quota, and has no agents', async () => {
  const shown = await stand.open('platform', '')
  const { page } = shown
  await page.getByRole('row', { name: /acme/u }).waitFor()
  await page.getByRole('button', { name: 'Add a tenant…' }).click()
  await page.getByRole('dialog').getByLabel('Name').fill('other')
  await page.getByRole('dialog').getByRole('button', { name: 'Add' }).click()
  await page.getByRole('button', { name: 'Quota of other' }).click()
  const dialog = page.getByRole('dialog')
  await dialog.getByLabel('Refuse backups above').fill('x')
  await dialog.getByRole('button', { name: 'Set quota' }).click()
  await dialog.getByRole('alert').waitFor()
  await dialog.getByLabel('Refuse backups above').fill('1,5')
  await dialog.getByRole('button', { name: 'Set quota' }).click()
  await page.getByRole('row', { name: /of 1\.50 GiB/u }).waitFor()
  await isClean(shown)
  await shot(page, 'tenants')
  await page.getByRole('link', { name: 'People and things' }).click()
  await page.getByRole('link', { name: 'Tokens', exact: true }).first().click()
  await page.getByRole('heading', { name: 'Signing keys' }).waitFor()
  await isClean(shown)
  await shot(page, 'tokens-platform')
  expect(await page.getByRole('link', { name: 'Agents', exact: true }).count()).toBe(0)
})

test('who only looks is not led there, and an operator may neither revoke nor see the log', async () => {
  const viewer = await stand.open('viewer', '#/people/agents')
  await viewer.page.getByText('There is no such view').waitFor()
  const { page } = await stand.open('operator', '#/people')
  await page
    .getByRole('row', { name: /Connected/u })
    .first()
    .waitFor()
  const nav = page.getByRole('navigation', { name: 'Parts of this view' })
  expect(await nav.getByRole('link').allInnerTexts()).toEqual(['Agents', 'Notifications'])
  expect(await page.getByRole('button', { name: /^Revoke/u }).count()).toBe(0)
})

test('narrow pages of every part are clean, and what is shown stays while the gateway is away', async () => {
  const shown = await stand.open('owner', '#/people', { size: NARROW, theme: 'dark' })
  for (const part of ['Agents', 'Enrol a host', 'Tokens', 'Notifications', 'Audit log']) {
    await shown.page.getByRole('link', { name: part }).click()
    await shown.page.getByRole('heading', { level: 1, name: part }).waitFor({ state: 'attached' })
    await shown.page.locator('.table, .panel').first().waitFor()
    await isClean(shown)
    await shot(shown.page, `${part}-narrow-dark`)
  }
  const { page } = await stand.open('platform', '#/people/tenants', { size: NARROW })
  await page.getByRole('row', { name: /acme/u }).waitFor()
  expect([await axeFindings(page), await isTooWide(page)]).toEqual([[], false])
  await shot(page, 'tenants-narrow')
  await stand.restartGateway(async () => {
    await page.getByText(/No connection to the gateway/u).waitFor()
    await page.getByRole('row', { name: /acme/u }).waitFor()
  })
  await page.getByText(/No connection to the gateway/u).waitFor({ state: 'detached' })
})
