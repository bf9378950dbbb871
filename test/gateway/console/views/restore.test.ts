// The view Restore in a real browser: a real agent writes a real QEMU's disk where its configuration allows it.
import { randomUUID } from 'node:crypto'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { startMachine } from '../../../support/qemu.ts'
import { DISK_BYTES, RealMachine } from '../real-machine.ts'
import { axeFindings, ConsoleStand, findingsOfLooks, isTooWide, NARROW } from '../stand.ts'

const SHOTS = process.env['VARVE_SHOTS']

let stand: ConsoleStand
let machine: RealMachine
let folder: string
let agent: string
const points: string[] = []

beforeAll(async () => {
  stand = await ConsoleStand.start()
  folder = stand.folder.join('restored')
  await mkdir(folder)
  machine = await RealMachine.start(stand, { agentLines: `[restore]\nfolders = ["${folder}"]` })
  points.push(await machine.backUp())
  await machine.qemu.guestIo('vda', 'write -P 9 1048576 131072')
  points.push(await machine.backUp())
  const owner = await stand.gateway.connectAs(await stand.gateway.tokenFor('owner'))
  agent = (await owner.call('agents.list', {})).agents[0]!.id
})
afterEach(() => stand.closePages())
afterAll(async () => {
  await machine?.[Symbol.asyncDispose]()
  await stand?.[Symbol.asyncDispose]()
})

type Shootable = { screenshot(options: { path: string; fullPage: boolean }): Promise<unknown> }

const shot = async (page: Shootable, name: string): Promise<unknown> =>
  SHOTS === undefined ? null : page.screenshot({ path: `${SHOTS}/${name}.png`, fullPage: true })

test('by keys from a machine to a sentence of what will happen, and the disk is there', async () => {
  const { page, complaints } = await stand.open('operator', '#/restore')
  await page.getByText('Nothing has been restored from here yet.').waitFor()
  await page.getByRole('searchbox', { name: 'Part of the machine’s name' }).fill('d')
  await page.getByRole('button', { name: 'db1' }).focus()
  await page.keyboard.press('Enter')
  const choose = page.getByRole('button', { name: /Choose the point as of/u })
  await choose.nth(1).waitFor()
  expect(await axeFindings(page)).toEqual([])
  await shot(page, 'restore-points-wide-light')
  await choose.nth(1).focus()
  await page.keyboard.press('Enter')
  await page.waitForURL(new RegExp(`point=${points[0]}`, 'u'))
  await page.getByRole('combobox', { name: 'Host whose agent writes' }).selectOption(agent)
  await page.getByRole('checkbox', { name: /vda/u }).check()
  const path = page.getByRole('textbox', { name: /Path on the host for/u })
  await path.fill('/etc/shadow')
  await path.blur()
  await page.getByText('RESTORE_FORBIDDEN').waitFor()
  expect(await page.getByRole('button', { name: 'Restore', exact: true }).isDisabled()).toBe(true)
  await path.fill(`${folder}/vda.raw`)
  await path.blur()
  await page.getByText('new file', { exact: true }).waitFor()
  await page.getByText(/8.00 MiB of .*vda.* of .*db1.* go to host .* at .*vda.raw/u).waitFor()
  await page.getByText('128 KiB differ from the newest restore point.').waitFor()
  expect(await axeFindings(page)).toEqual([])
  await shot(page, 'restore-sentence-wide-light')
  // the address has it all
  await page.reload()
  await page.getByText('128 KiB differ from the newest restore point.').waitFor()
  await page.getByRole('button', { name: 'Restore', exact: true }).click()
  await page.locator('.restores').getByText('done').waitFor()
  const written = await readFile(`${folder}/vda.raw`)
  expect(written.length).toBe(DISK_BYTES)
  expect(written.subarray(0, DISK_BYTES / 2).every((byte) => byte === 7)).toBe(true)
  await shot(page, 'restore-done-wide-light')
  expect(complaints).toEqual([])
})

test('what is there is overwritten only after its host is typed', async () => {
  const to = `${folder}/precious.raw`
  await writeFile(to, 'precious')
  const query = new URLSearchParams({ point: points[1]!, agent, 'to:vda': to })
  const { page } = await stand.open('operator', `#/restore?${query}`, { theme: 'dark' })
  await page.getByText('replaces a file of 8 B').waitFor()
  await page.getByText('It is the newest restore point.').waitFor()
  await page.getByRole('button', { name: 'Overwrite and restore' }).click()
  const dialog = page.getByRole('dialog')
  const confirm = dialog.getByRole('button', { name: 'Overwrite and restore' })
  expect(await confirm.isDisabled()).toBe(true)
  expect(await axeFindings(page)).toEqual([])
  await shot(page, 'restore-overwrite-wide-dark')
  const host = (await page.locator('.restore select option:checked').textContent())!
  await dialog.getByRole('textbox').fill(host)
  expect(await readFile(to, 'utf8')).toBe('precious')
  await confirm.click()
  await page.locator('.restores').getByText('precious.raw').waitFor()
  await page.locator('.restores li').first().getByText('done').waitFor()
  expect((await readFile(to)).length).toBe(DISK_BYTES)
  expect((await readdir(folder)).toSorted()).toEqual(['precious.raw', 'vda.raw'])
})

test('by keys to a whole machine in one folder; fields and focus stay while the agent looks', async () => {
  const { page, complaints } = await stand.open('operator', `#/restore?point=${points[0]}&agent=${agent}`)
  await page.getByRole('radio', { name: /The whole machine/u }).focus()
  await page.keyboard.press('Space')
  await page.getByRole('button', { name: /Use .*restored/u }).click()
  await page
    .getByText(/db1-vda-.*\.qcow2/u)
    .first()
    .waitFor()
  const field = page.getByRole('textbox', { name: 'Folder on the host' })
  await field.focus()
  await field.fill(`${folder}/none`)
  await page.keyboard.press('Enter')
  await page.getByRole('button', { name: 'Look again' }).waitFor()
  expect(await field.evaluate((element) => element === document.activeElement)).toBe(true)
  expect(await page.getByRole('button', { name: 'Restore', exact: true }).isDisabled()).toBe(true)
  expect(await axeFindings(page)).toEqual([])
  // what was refused is looked at again, without typing anything anew
  await mkdir(`${folder}/none`)
  await page.getByRole('button', { name: 'Look again' }).click()
  await page.getByText('new file', { exact: true }).waitFor()
  expect(await axeFindings(page)).toEqual([])
  await shot(page, 'restore-whole-wide-light')
  await page.getByRole('button', { name: 'Restore', exact: true }).click()
  // the restore before it is first in the list until this one is there
  await page
    .locator('.restores li')
    .filter({ hasText: `${folder}/none/` })
    .getByText('done')
    .waitFor()
  expect((await readdir(`${folder}/none`)).length).toBe(1)
  expect(complaints).toEqual([])
})

test('an image that is there is compared before anybody decides, and then gets only what differs', async () => {
  const to = `${folder}/damaged.raw`
  const whole = await readFile(`${folder}/vda.raw`)
  const damaged = Buffer.from(whole)
  damaged.fill(1, 65_536, 65_540)
  await writeFile(to, damaged)
  const query = new URLSearchParams({ point: points[0]!, agent, way: 'onto' })
  const { page, complaints } = await stand.open('operator', `#/restore?${query}`)
  await page.getByRole('checkbox', { name: /vda/u }).check()
  const path = page.getByRole('textbox', { name: /Path on the host of the image/u })
  await path.fill(`${folder}/nothing.raw`)
  await path.blur()
  await page.getByText(/does not exist/u).waitFor()
  expect(await page.getByRole('button', { name: 'Only compare' }).isDisabled()).toBe(true)
  await path.fill(to)
  await path.blur()
  await page.getByText('a file of 8.00 MiB: it is compared, and only what differs is overwritten').waitFor()
  await page.getByRole('button', { name: 'Only compare' }).click()
  await page.locator('.start').getByText('64.0 KiB of 8.00 MiB differ; nothing was written.').waitFor()
  expect((await readFile(to)).equals(damaged)).toBe(true)
  expect(await axeFindings(page)).toEqual([])
  await shot(page, 'restore-compared-wide-light')
  await page.getByRole('button', { name: 'Write what differs' }).click()
  const dialog = page.getByRole('dialog')
  const host = (await page.locator('.restore select option:checked').textContent())!
  await dialog.getByRole('textbox').fill(host)
  await dialog.getByRole('button', { name: 'Write what differs' }).click()
  await page.locator('.restores li').first().getByText('64.0 KiB of 8.00 MiB differed; 64.0 KiB written.').waitFor()
  expect((await readFile(to)).equals(whole)).toBe(true)
  expect(complaints).toEqual([])
})

test('an image that is in use is refused with who uses it, and may be looked at again', async () => {
  const query = new URLSearchParams({ point: points[1]!, agent, way: 'onto' })
  const used = `${folder}/used.raw`
  await writeFile(used, Buffer.alloc(DISK_BYTES))
  const at = stand.folder.join('other-qemu')
  await mkdir(at)
  const qemu = await startMachine({ folder: at, disks: [{ id: 'vda', format: 'raw', file: used, size: DISK_BYTES }] })
  query.set('to:vda', used)
  const { page } = await stand.open('operator', `#/restore?${query}`)
  await page.getByText('TARGET_IN_USE').waitFor()
  expect(await page.getByRole('button', { name: 'Write what differs' }).isDisabled()).toBe(true)
  await qemu[Symbol.asyncDispose]()
  await page.getByRole('button', { name: 'Look again' }).click()
  await page
    .getByText(/it is compared/u)
    .first()
    .waitFor()
  expect(await page.getByRole('button', { name: 'Write what differs' }).isDisabled()).toBe(false)
})

test('at the host there is a command for each way, with a token for who has no agent', async () => {
  const query = new URLSearchParams({ point: points[0]!, agent })
  const { page, complaints } = await stand.open('operator', `#/restore?${query}`)
  await page.locator('summary', { hasText: 'At the host' }).click()
  const command = (name: string) => page.locator('.at-host pre', { hasText: name })
  await command('--define').waitFor()
  for (const words of ['--onto', 'varve-agent instant', 'varve-agent export', 'nbd+unix:///vda', 'varve-agent drill'])
    expect([words, await command(words).count()]).toEqual([words, 1])
  expect(await page.locator('.at-host pre').first().textContent()).toContain(points[0]!)
  await page.getByRole('checkbox', { name: /with a token/u }).check()
  const address = stand.gateway.url
  await command(`--gateway ${address} --token-file ~/.varve-token`).first().waitFor()
  expect(await axeFindings(page)).toEqual([])
  await shot(page, 'restore-at-host-wide-light')
  await page.setViewportSize(NARROW)
  expect(await isTooWide(page)).toBe(false)
  await shot(page, 'restore-at-host-narrow-light')
  expect(complaints).toEqual([])
})

test('one that runs is shown with how far it is, and ended by who may; hostile names are text', async () => {
  const { catalog } = stand.gateway
  const tenant = await stand.gateway.addTenant('acme')
  const point = await catalog.points.find({ tenant: tenant.id, agent: null, prefix: points[1]! })
  const name = '<img src=x onerror=alert(1)>\u202Egnp'
  const disk = {
    disk: name,
    size: 4 * 2 ** 30,
    to: `/srv/${name}`,
    format: null,
    how: 'new' as const,
    doneBytes: 2 ** 30,
    bytesReceived: 1,
    differBytes: null,
    writtenBytes: 0,
    remarks: [],
  }
  const made = { id: randomUUID(), tenant: tenant.id, point: point.id, agent, overwrite: false }
  await catalog.restores.start({ ...made, subject: name, disks: [disk], nowMs: Date.now() })
  const viewer = await stand.open('viewer', '#/restore')
  await viewer.page.getByText('1.00 GiB of 4.00 GiB').first().waitFor()
  expect(await viewer.page.getByRole('button', { name: /Cancel/u }).count()).toBe(0)
  expect(await viewer.page.getByRole('heading', { name: /Which machine/u }).count()).toBe(0)
  expect(await viewer.page.locator('img').count()).toBe(0)
  expect(await findingsOfLooks(viewer.page, 'restore', (look) => shot(viewer.page, `restore-running-${look}`))).toEqual(
    [],
  )
  expect(viewer.complaints).toEqual([])
  const { page } = await stand.open('operator', '#/restore')
  await page.getByRole('button', { name: /Cancel the restore/u }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'End the restore' }).click()
  await page.locator('.restores').getByText('cancelled').waitFor()
})

test('a narrow page has all steps, and a gateway that was away is asked again', async () => {
  const query = new URLSearchParams({ point: points[0]!, agent, 'to:vda': `${folder}/new.qcow2` })
  const { page, complaints } = await stand.open('owner', `#/restore?${query}`, { size: NARROW })
  await page.getByText('new file as qcow2').waitFor()
  expect(await axeFindings(page)).toEqual([])
  expect(await isTooWide(page)).toBe(false)
  await shot(page, 'restore-sentence-narrow-light')
  await stand.restartGateway()
  await page.locator('.restores').getByText('done').first().waitFor()
  await page.getByText('new file as qcow2').waitFor()
  expect(complaints).toEqual([])
})
