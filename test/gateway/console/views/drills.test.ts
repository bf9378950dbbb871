// Drills and uses of a point in a real browser: the verdict, and on demand the picture and the log; what a guest wrote is text.
import { randomUUID } from 'node:crypto'
import { crc32, deflateSync } from 'node:zlib'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import type { DrillOutcome } from '../../../../protocol/drills.ts'
import { addAgent, addMachine, addPoint } from '../../catalog.ts'
import { axeFindings, ConsoleStand, isTooWide, NARROW } from '../stand.ts'

const SHOTS = process.env['VARVE_SHOTS']

let stand: ConsoleStand
let tried: string
let untried: string

const chunk = (type: string, data: Buffer): Buffer => {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data])
  const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)]
  length.writeUInt32BE(data.length)
  sum.writeUInt32BE(crc32(body))
  return Buffer.concat([length, body, sum])
}

/** A picture of one grey, 64 by 48 pixels. */
const png = (): Buffer => {
  const header = Buffer.from([0, 0, 0, 64, 0, 0, 0, 48, 8, 2, 0, 0, 0])
  const rows = Buffer.alloc(48 * (1 + 64 * 3), 90)
  for (let row = 0; row < 48; row++) rows[row * (1 + 64 * 3)] = 0
  return Buffer.concat([
    Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]),
    chunk('IHDR', header),
    chunk('IDAT', deflateSync(rows)),
    chunk('IEND', Buffer.alloc(0)),
  ])
}

const PASSED: DrillOutcome = {
  verdict: 'passed',
  reason: 'the guest agent answered',
  check: 'guest-agent',
  host: 'h1',
  startedMs: Date.now() - 60_000,
  firmwareMs: 800,
  evidenceMs: 21_500,
  durationMs: 24_000,
  bootLimitMs: 180_000,
  accelerator: 'kvm',
  memoryBytes: 512 * 2 ** 20,
  cpus: 2,
  bytesReceived: 90 * 2 ** 20,
  bytesWritten: 3 * 2 ** 20,
  remarks: ['network card net0 is left out'],
}

const HOSTILE = '<img src=x onerror=alert(1)>\u202Egnp'

beforeAll(async () => {
  stand = await ConsoleStand.start()
  const { gateway } = stand
  const tenant = await gateway.addTenant('acme')
  const agent = await addAgent(gateway.catalog, tenant)
  const machine = await addMachine(gateway.catalog, tenant, agent, 'db1')
  untried = await addPoint(gateway.catalog, tenant, machine)
  tried = await addPoint(gateway.catalog, tenant, machine)
  const operator = await gateway.connectAs(await gateway.tokenFor('operator'))
  const add = (outcome: DrillOutcome, log: string, picture: Buffer | null) =>
    operator.call('drills.add', { drill: randomUUID(), point: tried, outcome, log, picture })
  await add(PASSED, 'Debian GNU/Linux 12 db1 ttyS0\n\ndb1 login: ', png())
  await add(
    { ...PASSED, verdict: 'failed', reason: HOSTILE, evidenceMs: null, firmwareMs: null, remarks: [] },
    `${HOSTILE}\nKernel panic - not syncing\n`,
    null,
  )
})
afterEach(() => stand.closePages())
afterAll(() => stand?.[Symbol.asyncDispose]())

test('a point says whether it boots, with picture and log on demand, by keys', async () => {
  const { page, complaints } = await stand.open('viewer', `#/machine/db1?point=${tried}`)
  const drills = page.locator('.drills')
  await drills.getByText('does not boot').waitFor()
  await drills.getByText('boots', { exact: true }).waitFor()
  await page.locator(`[data-point="${tried}"]`).getByText('does not boot').waitFor()
  await drills.getByText('21 s, of 3 min at most').waitFor()
  await drills.getByText('network card net0 is left out').waitFor()
  expect(await page.locator('.drills img').count()).toBe(0)
  const details = drills.locator('summary')
  await details.nth(1).focus()
  await page.keyboard.press('Enter')
  const picture = drills.getByRole('img', { name: /showed on its screen/u })
  await picture.waitFor()
  await page.waitForFunction(() => document.querySelector<HTMLImageElement>('.drills img')?.naturalWidth === 64)
  await drills.getByText('db1 login:').waitFor()
  await details.nth(0).click()
  await drills.getByText('There is no picture of its screen.').waitFor()
  await drills.getByText(/Kernel panic/u).waitFor()
  // what came from a guest is text, and turns no writing around
  expect(await page.locator('.drills img[src="x"]').count()).toBe(0)
  expect(await drills.textContent()).not.toContain('\u202E')
  expect(await axeFindings(page)).toEqual([])
  if (SHOTS !== undefined) await page.screenshot({ path: `${SHOTS}/drills-wide-light.png`, fullPage: true })
  await page.setViewportSize(NARROW)
  await page.emulateMedia({ colorScheme: 'dark' })
  expect(await isTooWide(page)).toBe(false)
  expect(await axeFindings(page)).toEqual([])
  if (SHOTS !== undefined) await page.screenshot({ path: `${SHOTS}/drills-narrow-dark.png`, fullPage: true })
  expect(complaints).toEqual([])
})

test('one that was never tried says how to', async () => {
  const { page } = await stand.open('operator', `#/machine/db1?point=${untried}`)
  await page.locator('.drills pre', { hasText: `varve-agent drill ${untried}` }).waitFor()
  expect(await page.locator(`[data-point="${untried}"]`).getByText('boots').count()).toBe(0)
})

test('a point that a machine runs from says so, and until when, and no more once that has ended', async () => {
  const { gateway } = stand
  const operator = await gateway.connectAs(await gateway.tokenFor('operator'))
  const use = { use: randomUUID(), point: untried }
  await operator.call('points.use', { ...use, ttlMs: 3 * 60 * 60_000 })
  const place = `#/machine/db1?point=${untried}`
  const { page, complaints } = await stand.open('viewer', place, { size: NARROW })
  await page.locator(`[data-point="${untried}"]`).getByText('a machine runs from it').waitFor()
  await page
    .locator('.point dl')
    .getByText(/Unless that is renewed it ends in (?:2 h|3 h)/u)
    .waitFor()
  expect(await axeFindings(page)).toEqual([])
  expect(await isTooWide(page)).toBe(false)
  if (SHOTS !== undefined) await page.screenshot({ path: `${SHOTS}/used-narrow-light.png`, fullPage: true })
  await operator.call('points.use', { ...use, ttlMs: 0 })
  await page.reload()
  await page.locator('.point').waitFor()
  expect(await page.getByText('a machine runs from it').count()).toBe(0)
  expect(complaints).toEqual([])
})
