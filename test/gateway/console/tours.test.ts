// The console as each role sees it, and what it does when the connection, the gateway or the token goes: in every view that
// there is. Method: one gateway with a machine that a real agent has backed up; pages of one browser.
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { VIEWS } from '../../../gateway/console/views/views.ts'
import { views as names } from '../../../gateway/console/texts/views.ts'
import { common } from '../../../gateway/console/texts/common.ts'
import { frame as texts } from '../../../gateway/console/texts/frame.ts'
import { HEARTBEAT_INTERVAL_MS, HELLO_TIMEOUT_MS } from '../../../protocol/limits.ts'
import { LinkProxy } from '../../support/stand-proxy.ts'
import { eventually } from '../../support/temp.ts'
import { RealMachine } from './real-machine.ts'
import { ConsoleStand, type Shown } from './stand.ts'
import { acts, placeOf, settled, viewsOf, type PersonRole, type Toured } from './tours.ts'

const ROLES: readonly PersonRole[] = ['viewer', 'operator', 'owner', 'auditor', 'platform']

let stand: ConsoleStand
let machine: RealMachine
let toured: Toured

/** What each role could press, over all its views, as the tours found it. */
const pressed: Readonly<Record<PersonRole, Set<string>>> = {
  viewer: new Set(),
  operator: new Set(),
  owner: new Set(),
  auditor: new Set(),
  platform: new Set(),
}

beforeAll(async () => {
  stand = await ConsoleStand.start()
  machine = await RealMachine.start(stand)
  await machine.backUp()
  await machine.qemu.guestIo('vda', 'write -P 9 0 65536')
  toured = { machine: machine.name, point: await machine.backUp() }
})
afterEach(() => stand.closePages())
afterAll(async () => {
  await machine?.[Symbol.asyncDispose]()
  await stand?.[Symbol.asyncDispose]()
})

test.each(ROLES)('%s: the views of this role open one after the other, and no others', async (role) => {
  const own = viewsOf(role)
  const shown = await stand.open(role, '')
  const { page, complaints } = shown
  await settled(page)
  const navigation = await page.getByRole('navigation').getByRole('link').allTextContents()
  expect(navigation).toEqual(own.filter(({ isListed }) => isListed).map(({ name }) => names[name]))
  for (const view of VIEWS) {
    await page.evaluate((place) => (location.hash = place), placeOf(view, toured))
    const isOwn = own.includes(view)
    await page.waitForFunction((start) => document.title.startsWith(start), isOwn ? names[view.name] : 'Varve')
    await settled(page)
    expect([view.name, await page.getByText(texts.noView).count()]).toEqual([view.name, isOwn ? 0 : 1])
    expect([view.name, await page.getByRole('alert').allTextContents()]).toEqual([view.name, []])
    for (const text of await acts(page)) pressed[role].add(text)
  }
  expect(complaints).toEqual([])
})

test('who may only look is shown nothing that acts, and whoever may act is', () => {
  const acting =
    /\b(back up now|back up|hold|lock|prune|cancel job|revoke|issue|enrol|exclude|verify|gc|delete|remove)\b/iu
  for (const role of ['viewer', 'auditor'] as const)
    expect([role, [...pressed[role]].filter((text) => acting.test(text))]).toEqual([role, []])
  // who may more is shown more
  expect([...pressed.operator].some((text) => acting.test(text))).toBe(true)
  expect(pressed.owner.size).toBeGreaterThanOrEqual(pressed.viewer.size)
})

test('while the gateway is away every view says so and keeps what it showed; it goes on by itself when it is back', async () => {
  const all: { readonly shown: Shown; readonly name: string; readonly before: number }[] = []
  for (const view of viewsOf('owner')) {
    const shown = await stand.open('owner', placeOf(view, toured))
    await settled(shown.page)
    const before = (await shown.page.locator('main').textContent())!.length
    all.push({ shown, name: view.name, before })
  }
  await stand.restartGateway(async () => {
    for (const { shown, name, before } of all) {
      await shown.page.getByText(/No connection to the gateway/u).waitFor()
      const left = (await shown.page.locator('main').textContent())!.length
      // ages go on, and a note may come; nothing that was there is taken away
      expect([name, left >= before * 0.7]).toEqual([name, true])
    }
  })
  for (const { shown, name } of all) {
    await shown.page
      .getByRole('button', { name: texts.retryNow })
      .click({ timeout: 1000 })
      .catch(() => {})
    await shown.page.getByText(/No connection to the gateway/u).waitFor({ state: 'detached' })
    await settled(shown.page)
    expect([name, await shown.page.getByRole('alert').allTextContents()]).toEqual([name, []])
    expect([name, shown.complaints]).toEqual([name, []])
  }
})

test('a link that is cut, refused, silent: the page says so and since when, comes back by itself, and does nothing twice', async () => {
  await using relay = await LinkProxy.listen()
  relay.target = stand.gateway.port
  const looks = { origin: `http://127.0.0.1:${relay.port}`, hasOwnClock: true }
  const acting = await stand.open('owner', `#/machine/${machine.name}`, looks)
  const typing = await stand.open('owner', '#/plans?plan=%2B', looks)
  const both = [acting, typing]
  const operator = await stand.gateway.connectAs(await stand.gateway.tokenFor('operator'))
  const jobs = async () =>
    (await operator.call('jobs.list', { machine: machine.name, running: false, limit: 100 })).jobs
  const before = await jobs()
  for (const { page } of both) await settled(page)
  const layers = await acting.page.locator('.layer').count()
  await typing.page.getByLabel('Name', { exact: true }).fill('not yet sa')

  // the gateway hears what is asked for, and its answer is lost with the link
  await acting.page.getByRole('button', { name: 'Back up now' }).click()
  const dialog = acting.page.getByRole('dialog')
  await dialog.waitFor()
  relay.deafen()
  await dialog.getByRole('button', { name: 'Back up now' }).click()
  await eventually(async () =>
    (await jobs()).some(({ id, state }) => state === 'committed' && before.every((job) => job.id !== id)),
  )
  relay.refuse()
  relay.cut()
  await dialog.getByText('CONNECTION_LOST').waitFor()
  await dialog.getByText(common.unheard).waitFor()
  for (const { page } of both) await page.getByText(/No connection to the gateway/u).waitFor()
  await typing.page.keyboard.type('ved')

  // refused: it tries again, and says how old what it shows has become
  for (const { page } of both) {
    await page.clock.fastForward(70_000)
    await page.getByText(/No connection to the gateway: the gateway cannot be reached/u).waitFor()
    await page.getByText(/What is shown is 1 min \d+ s old or older/u).waitFor()
  }

  // taken, and nothing comes: given up by the page's own deadline
  await relay.accept()
  relay.hear()
  relay.stall()
  for (const { page } of both) {
    await page.clock.fastForward(20_000)
    await page.getByText(texts.retrying).waitFor()
    await page.clock.fastForward(HELLO_TIMEOUT_MS)
    await page.getByText(/No connection to the gateway: the gateway did not answer in time/u).waitFor()
  }
  relay.flow()
  for (const { page } of both) {
    await page.clock.fastForward(20_000)
    await page.getByText(/No connection to the gateway/u).waitFor({ state: 'detached' })
  }
  await dialog.getByRole('button', { name: 'Cancel' }).click()
  const newest = (await jobs())[0]!
  expect((await jobs()).length).toBe(before.length + 1)
  // what happened meanwhile is shown
  await acting.page.locator('.layer').nth(layers).waitFor()

  // open, and silent: noticed by the page's own ping
  relay.stall()
  for (const { page } of both) {
    const noticed = page.getByText(/No connection to the gateway: nothing was received for \d+ ms/u)
    // each step is a beat of the page's heart, and so long that what it shows of it is there
    await eventually(async () => {
      await page.clock.fastForward(HEARTBEAT_INTERVAL_MS)
      await noticed.waitFor({ timeout: 500 }).catch(() => {})
      return await noticed.isVisible()
    })
    await page.getByText(/What is shown is (?:\d\d s|1 min) /u).waitFor()
  }
  relay.flow()
  for (const { page, complaints } of both) {
    await page.clock.fastForward(20_000)
    await page.getByText(/No connection to the gateway/u).waitFor({ state: 'detached' })
    expect(complaints).toEqual([])
  }
  expect(await typing.page.getByLabel('Name', { exact: true }).inputValue()).toBe('not yet saved')
  expect((await jobs()).map(({ id }) => id)).toEqual([newest.id, ...before.map(({ id }) => id)])
})

test('a token that ends leads to the sign-in page with the reason, and the page keeps nothing of it', async () => {
  const shown = await stand.openWith(await stand.gateway.tokenFor('viewer', undefined, 3000), '')
  const { page, complaints } = shown
  await settled(page)
  await page.getByRole('heading', { name: texts.signIn.title }).waitFor()
  await page.getByText(/TOKEN_EXPIRED/u).waitFor()
  expect(await page.evaluate(() => sessionStorage.getItem('varve.token'))).toBe(null)
  expect(complaints).toEqual([])
})

test('a link signs in once: it leaves no code in the address or the history, and its second use says what to do', async () => {
  const owner = await stand.gateway.connectAs(await stand.gateway.tokenFor('owner'))
  const { code } = await owner.call('login.issue', { subject: 'anna', role: 'viewer', ttlMs: 60_000 })
  const first = await stand.open(null, `#/login/${code}`)
  await first.page.getByText(texts.signedInAs('anna', 'viewer', 'acme')).waitFor()
  expect(first.page.url()).not.toContain(code)
  await first.page.goBack({ timeout: 2000 }).catch(() => null)
  expect(first.page.url()).not.toContain(code)
  const second = await stand.open(null, `#/login/${code}`)
  await second.page
    .getByText(/varve-gateway login/u)
    .first()
    .waitFor()
  await second.page.getByText(/LOGIN_CODE_INVALID/u).waitFor()
  expect(second.page.url()).not.toContain(code)
  expect([...first.complaints, ...second.complaints]).toEqual([])
})
