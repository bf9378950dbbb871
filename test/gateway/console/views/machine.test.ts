// The views Machine and Change map in a real browser, with points that a real agent makes of a real QEMU.
import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { eventually } from '../../../support/temp.ts'
import { addAgent, addMachine, addPoint } from '../../catalog.ts'
import { unlike } from '../looks.ts'
import { RealMachine } from '../real-machine.ts'
import { axeFindings, ConsoleStand, findingsOfLooks, isTooWide, NARROW } from '../stand.ts'

const SHOTS = process.env['VARVE_SHOTS']

let stand: ConsoleStand
let machine: RealMachine
const points: string[] = []

beforeAll(async () => {
  stand = await ConsoleStand.start()
  machine = await RealMachine.start(stand)
  points.push(await machine.backUp())
  await machine.qemu.guestIo('vda', 'write -P 9 1048576 131072')
  await machine.qemu.guestIo('vda', 'write -z 2097152 65536')
  points.push(await machine.backUp())
  await machine.qemu.guestIo('vda', 'write -P 10 6291456 262144')
  points.push(await machine.backUp())
})
afterEach(() => stand.closePages())
afterAll(async () => {
  await machine?.[Symbol.asyncDispose]()
  await stand?.[Symbol.asyncDispose]()
})

const shot = async (
  page: { screenshot(options: { path: string; fullPage: boolean }): Promise<unknown> },
  name: string,
) => (SHOTS === undefined ? null : page.screenshot({ path: `${SHOTS}/${name}.png`, fullPage: true }))

test('points are layers with what they changed, a key goes through them, and each says what keeps it', async () => {
  const { page, complaints } = await stand.open('owner', '#/machine/db1')
  const layers = page.locator('.layer')
  await layers.first().waitFor()
  expect(await layers.count()).toBe(3)
  await page.locator('.layer svg.core path.data[d^="M"]').nth(2).waitFor()
  await page.locator('.layer svg.core path.zero[d^="M"]').waitFor()
  await page.getByText('no rules: everything is kept').or(page.getByText('one of the last')).first().waitFor()
  await layers.first().focus()
  await page.keyboard.press('End')
  await page.waitForURL(new RegExp(`point=${points[0]}`, 'u'))
  await page.getByText('the first backup of it').first().waitFor()
  await page.getByRole('columnheader', { name: 'Scratch' }).waitFor()
  await page.locator('.point dl').getByText('not frozen').waitFor()
  await page
    .locator('.point dl')
    .getByText(/^\d.* of \d.* GiB$/u)
    .waitFor()
  await page
    .locator('.point dl')
    .getByText(/^instant \d.*reading and sending \d/u)
    .waitFor()
  await page.getByRole('button', { name: 'Hold' }).click()
  await page.locator('.layer').last().getByText('held').waitFor()
  await page.getByRole('button', { name: 'Lock …' }).click()
  await page.getByRole('spinbutton', { name: 'Days from now' }).fill('91')
  await page.getByLabel(/^Type .*91.* to confirm$/u).waitFor()
  await page.getByText(/^It is locked until \d{4}-\d\d-\d\d\.$/u).waitFor()
  await page.getByRole('spinbutton', { name: 'Days from now' }).fill('2')
  await page.getByRole('dialog').getByRole('button', { name: 'Lock it' }).click()
  await page.locator('.layer').last().getByText('locked').waitFor()
  await page.getByRole('button', { name: 'Work out what each would free' }).click()
  await page.getByRole('columnheader', { name: 'Would free' }).waitFor()
  // a button can be read also under the pointer
  await page.locator('.point a.main').hover()
  expect(await axeFindings(page)).toEqual([])
  await shot(page, 'machine-wide-light')
  expect(complaints).toEqual([])
})

test('a backup is started by hand, watched, and its point is there', async () => {
  const { page } = await stand.open('operator', '#/machine/db1', { theme: 'dark' })
  await page.getByRole('button', { name: 'Hold' }).waitFor()
  expect(await page.getByRole('button', { name: 'Lock …' }).count()).toBe(0)
  await page.getByRole('button', { name: 'Back up now' }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'Back up now' }).click()
  await page.locator('.layer').nth(3).waitFor()
  expect(await axeFindings(page)).toEqual([])
  await shot(page, 'machine-wide-dark')
})

test('a backup that runs is followed, and cancelled by who may', async () => {
  await using slow = await RealMachine.start(stand, { name: 'slow', agentLines: 'bandwidth = "16 KiB"' })
  // what nothing makes smaller
  const noise = stand.folder.join('noise')
  await writeFile(noise, randomBytes(1 << 20))
  await slow.qemu.guestIo('vda', `write -s ${noise} 0 1048576`)
  const { page } = await stand.open('operator', '#/machine/slow', { size: NARROW })
  await page.getByText('No restore point yet').waitFor()
  expect(await axeFindings(page)).toEqual([])
  await page.getByRole('button', { name: 'Back up now' }).click()
  await page
    .getByRole('dialog')
    .getByRole('checkbox', { name: /Read everything/u })
    .check()
  expect(await axeFindings(page)).toEqual([])
  await page.getByRole('dialog').getByRole('button', { name: 'Back up now' }).click()
  await page.getByRole('heading', { name: 'Running backup' }).waitFor()
  await page
    .getByText(/vda.*: .* of 8.00 MiB/u)
    .first()
    .waitFor()
  expect(await axeFindings(page)).toEqual([])
  expect(await isTooWide(page)).toBe(false)
  await shot(page, 'running-narrow-light')
  await page.getByRole('button', { name: 'Cancel the backup' }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'Cancel the backup' }).click()
  await page.getByText('The last backup was cancelled').waitFor()
  expect(await page.locator('.job .bad').count()).toBe(0)
})

test('a viewer sees the same and can change nothing; any look shows it all', async () => {
  const { page, complaints } = await stand.open('viewer', '#/machine/db1', { size: NARROW })
  await page.locator('.layer svg.core').first().waitFor()
  for (const name of ['Back up now', 'Hold', 'Lock …']) expect(await page.getByRole('button', { name }).count()).toBe(0)
  await page.locator('.point').waitFor()
  expect(await page.locator('.point').getByRole('link', { name: 'Restore' }).count()).toBe(0)
  expect(await findingsOfLooks(page, 'machine', (name) => shot(page, `machine-${name}`))).toEqual([])
  expect(complaints).toEqual([])
})

test('the map shows what differs, by keys down to its chunks, and points as a film', async () => {
  const { page, complaints } = await stand.open('viewer', `#/changes/db1?to=${points[1]}`)
  const raster = page.getByRole('slider', { name: 'Raster of the disk' })
  await raster.waitFor()
  await page.getByText(/192 KiB of 8.00 MiB differ between/u).waitFor()
  await raster.focus()
  await page.keyboard.press('n')
  await page.getByText('64.0 KiB at 1.00 MiB: Changed, holds data').waitFor()
  await page.keyboard.press('n')
  await page.keyboard.press('n')
  await page.getByText('64.0 KiB at 2.00 MiB: Changed, only zeroes now').waitFor()
  // each kind in its colour, and another one in the dark
  const swatches = (): Promise<string[]> =>
    page.locator('canvas.swatch').evaluateAll((all) =>
      all.map((canvas) => {
        const pen = document.createElement('canvas').getContext('2d', { willReadFrequently: true })!
        pen.drawImage(canvas as HTMLCanvasElement, 0, 0)
        return pen.getImageData(0, 3, 1, 1).data.join(' ')
      }),
    )
  const light = await swatches()
  expect(light).toHaveLength(4)
  expect(light[0]).toBe('10 88 179 255')
  expect(new Set(light).size).toBe(4)
  await page.emulateMedia({ colorScheme: 'dark' })
  await eventually(
    async () => (await swatches()).join() === '132 185 255 255,242 192 99 255,255 154 145 255,35 43 54 255',
  )
  await page.emulateMedia({ colorScheme: 'light' })
  expect(await axeFindings(page)).toEqual([])
  expect(await unlike(page, 'changes')).toBe(null)
  await shot(page, 'changes-wide-light')
  await page.keyboard.press('Enter')
  await page.waitForURL(/offset=\d+&bytes=1048576/u)
  await page.getByText(/64.0 KiB of 1.00 MiB differ/u).waitFor()
  await page.keyboard.press('Backspace')
  await page.getByText(/192 KiB of 8.00 MiB differ between/u).waitFor()
  await page.getByRole('button', { name: 'Newer point' }).click()
  await page.getByText(/256 KiB of 8.00 MiB differ between/u).waitFor()
  // from the last but one to the last, where the film ends
  await page.getByRole('button', { name: 'Play all points' }).click()
  await page.getByRole('button', { name: 'Stop' }).waitFor()
  await page.getByText(/^4 of 4$/u).waitFor()
  await page.getByRole('button', { name: 'Play all points' }).waitFor()
  await page.getByLabel('Compared with').selectOption('none')
  await page.getByText(/of 8.00 MiB hold something at/u).waitFor()
  expect(complaints).toEqual([])
})

test('hostile names are text, and what cannot be read is told as damage', async () => {
  const { catalog } = stand.gateway
  const tenant = await stand.gateway.addTenant('acme')
  const host = '<b>host</b>\u202e<img src=x onerror=alert(1)>'
  const odd = await addMachine(catalog, tenant, await addAgent(catalog, tenant, host), 'odd')
  const disk = '<img src=x onerror=alert(1)>\u202e"\'&amp;'
  // trees that are nowhere
  for (const timeMs of [1000, 2000])
    await addPoint(catalog, tenant, odd, {
      timeMs,
      size: 1 << 20,
      names: [disk],
      root: new Uint8Array(32).fill(timeMs / 1000),
    })
  const { page, complaints } = await stand.open('viewer', '#/machine/odd', { theme: 'dark' })
  await page.getByText(host).waitFor()
  await page.locator('.disks').getByText(disk).waitFor()
  await page.locator('.layer svg.core path.damaged[d^="M"]').first().waitFor()
  await page.getByRole('link', { name: 'Change map' }).click()
  await page.getByText(/At least 0 B of 1.00 MiB differ/u).waitFor()
  await page.getByText('1.00 MiB cannot be read, so that nobody can tell').waitFor()
  await page.getByText('Damaged, cannot be read 1.00 MiB').waitFor()
  await page
    .getByText('1.00 MiB at 0 B')
    .or(page.getByText('64.0 KiB at 0 B: Damaged, cannot be read'))
    .first()
    .waitFor()
  expect(await axeFindings(page)).toEqual([])
  await shot(page, 'changes-damaged-dark')
  expect(await page.locator('img, b').count()).toBe(0)
  expect(complaints).toEqual([])
})

test('places that lead nowhere say so', async () => {
  const { page } = await stand.open('viewer', '#/machine/nobody')
  await page
    .getByText(/there is no machine "nobody"/u)
    .first()
    .waitFor()
  await page.goto(`${stand.gateway.httpUrl}/#/changes/db1?to=${'0'.repeat(8)}&offset=-5&bytes=x&disk=none`)
  await page.getByText('The point of this link is gone').waitFor()
  await page.getByRole('slider', { name: 'Raster of the disk' }).waitFor()
})

test('a narrow map, and one whose gateway is away and comes back', async () => {
  const { page } = await stand.open('viewer', `#/changes/db1?to=${points[2]}`, { size: NARROW, theme: 'dark' })
  await page.getByText(/256 KiB of 8.00 MiB differ between/u).waitFor()
  expect(await axeFindings(page)).toEqual([])
  expect(await isTooWide(page)).toBe(false)
  await shot(page, 'changes-narrow-dark')
  await stand.restartGateway(async () => {
    await page.getByText(/No connection to the gateway/u).waitFor()
    await page.getByRole('button', { name: 'Older point' }).click()
    await page.getByText('CONNECTION_LOST').waitFor()
  })
  await page.getByText(/192 KiB of 8.00 MiB differ between/u).waitFor({ timeout: 20_000 })
})
