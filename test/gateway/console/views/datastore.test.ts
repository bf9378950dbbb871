// The view Datastore in a real browser: parts that add up after real backups, growth, damage, and what the platform sees.
import type { Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { RECORD } from '../../../../gateway/packs/format.ts'
import { addAgent, addMachine, addPoint } from '../../catalog.ts'
import { RealMachine } from '../real-machine.ts'
import { axeFindings, ConsoleStand, findingsOfLooks } from '../stand.ts'

const SHOTS = process.env['VARVE_SHOTS']
const DAY_MS = 24 * 3_600_000
const MIB = 2 ** 20

let stand: ConsoleStand
let machine: RealMachine
let point: string

beforeAll(async () => {
  stand = await ConsoleStand.start()
  machine = await RealMachine.start(stand)
  await machine.backUp()
  await machine.qemu.guestIo('vda', 'write -P 9 1048576 131072')
  point = await machine.backUp()
  const { catalog } = stand.gateway
  const tenant = await stand.gateway.addTenant('acme')
  const today = Math.floor(Date.now() / DAY_MS)
  // packs are sampled as they are, so the past is what the disk was
  for (let ago = 40; ago >= 1; ago--) await catalog.upkeep.sample({ day: today - ago, diskBytes: (900 - ago) * MIB })
  await catalog.quotas.set({ tenant: tenant.id, softBytes: null, hardBytes: 64 * MIB })
})
afterEach(() => stand.closePages())
afterAll(async () => {
  await machine?.[Symbol.asyncDispose]()
  await stand?.[Symbol.asyncDispose]()
})

/** A picture of all of a page, for people to look at. */
const shot = async (page: Page, name: string): Promise<void> => {
  if (SHOTS === undefined) return
  await page.setViewportSize({ width: page.viewportSize()!.width, height: 2600 })
  await page.screenshot({ path: `${SHOTS}/${name}.png` })
}

test('what the packs are made of is worked out, adds up, and a dry run says what a collection would free', async () => {
  const { page, complaints } = await stand.open('owner', '#/datastore')
  await page.getByText(/All rectangles together are/u).waitFor()
  const sentence = await page.getByText(/All rectangles together are/u).innerText()
  const sum = /are ([0-9.]+ [KM]iB): all of the packs/u.exec(sentence)![1]!
  expect(await page.getByRole('row', { name: /The sum/u }).innerText()).toContain(sum)
  expect(await page.getByText('In packs now').locator('..').innerText()).toMatch(/[0-9] KiB/u)
  await page.locator('.treemap title', { hasText: /db1 .*vda/u }).waitFor({ state: 'attached' })
  await page.getByRole('img', { name: /^From .* now$/u }).waitFor()
  await page.getByText('No damage is known.').waitFor()
  await page.getByRole('button', { name: 'See what a collection would free' }).focus()
  await page.keyboard.press('Enter')
  await page.getByText('Would be freed').waitFor()
  expect(await axeFindings(page)).toEqual([])
  await shot(page, 'datastore-wide-light')
  expect(complaints).toEqual([])
})

test('damage has its points and offsets and what heals it; hostile names are text', async () => {
  const { catalog } = stand.gateway
  const tenant = await stand.gateway.addTenant('acme')
  const disk = '<img src=x onerror=alert(1)>\u202e"'
  const odd = await addMachine(catalog, tenant, await addAgent(catalog, tenant), 'odd')
  const lost = await addPoint(catalog, tenant, odd, {
    timeMs: Date.now() - DAY_MS,
    nowMs: Date.now() - DAY_MS,
    size: 8 * MIB,
    names: [disk],
  })
  const id = new Uint8Array(32).fill(7)
  const reason = '<b>it is not what was written</b>'
  await catalog.damage.enter({
    tenant: tenant.id,
    nowMs: Date.now(),
    records: [{ id, type: RECORD.chunk, place: null, reason }],
  })
  await catalog.lost.stage({
    tenant: tenant.id,
    first: true,
    rows: [{ point: lost, disk, offset: 3 * MIB, length: 65_536, id }],
  })
  await catalog.lost.replace({ tenant: tenant.id })
  const { page, complaints } = await stand.open('viewer', '#/datastore', { theme: 'dark' })
  await page.getByText('1 damaged record leaves 1 range of restore points unreadable, 64.0 KiB in all.').waitFor()
  await page.getByRole('cell', { name: disk }).waitFor()
  await page.getByRole('cell', { name: '3.00 MiB' }).waitFor()
  await page.getByText(/the next backup that has the same content sends it again/u).waitFor()
  await page.locator('summary', { hasText: 'Damaged records' }).click()
  await page.getByText(reason).waitFor()
  expect(await page.getByRole('button', { name: 'See what a collection would free' }).count()).toBe(0)
  expect(await page.locator('img, main b').count()).toBe(0)
  expect(await axeFindings(page)).toEqual([])
  await shot(page, 'datastore-wide-dark')
  expect(complaints).toEqual([])
})

test('the platform sees the disk with its forecast and the tenants, and any look shows all of it', async () => {
  for (const role of ['platform', 'auditor'] as const) {
    const { page, complaints } = await stand.open(role, '#/datastore')
    if (role === 'platform') {
      await page.getByRole('heading', { name: 'Disk of the gateway' }).waitFor()
      await page.getByRole('cell', { name: 'acme' }).waitFor()
      await page.locator('.growth .forecast[d^="M"]').waitFor({ state: 'attached' })
    } else await page.getByText(/All rectangles together are/u).waitFor()
    expect(await findingsOfLooks(page, `datastore-${role}`, (name) => shot(page, `datastore-${role}-${name}`))).toEqual(
      [],
    )
    expect(complaints).toEqual([])
  }
})

test('the gateway goes and comes back, and what was shown stays meanwhile', async () => {
  const { page } = await stand.open('viewer', '#/datastore')
  await page.getByText(/All rectangles together are/u).waitFor()
  await stand.restartGateway(async () => {
    await page.getByText(/No connection to the gateway/u).waitFor()
    await page.getByText(/All rectangles together are/u).waitFor()
  })
  await page.getByText(/No connection to the gateway/u).waitFor({ state: 'detached', timeout: 20_000 })
  await page.getByRole('button', { name: 'Work it out again' }).click()
  await page.getByText(/All rectangles together are/u).waitFor()
  expect(point).not.toBe('')
})
