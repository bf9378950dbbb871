// The view Protection in a real browser: made machines in every state, and one that a real agent backs up.
import type { Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { daily, DAY_MS, makeMachines, type MadeMachine } from '../made.ts'
import { RealMachine } from '../real-machine.ts'
import { axeFindings, ConsoleStand, findingsOfLooks } from '../stand.ts'

const SHOTS = process.env['VARVE_SHOTS']

const HOSTILE = `<img src=x onerror="alert(1)"> \u202edetcefnoc si tnega eht ${'long '.repeat(40)}`

const MACHINES: readonly MadeMachine[] = [
  ...Array.from({ length: 300 }, (_, index) => ({ name: `web${String(index).padStart(3, '0')}`, days: daily(2, 3) })),
  { name: 'late1', days: daily(5, 31) },
  { name: 'fails1', days: [...daily(3, 20), { ageMs: DAY_MS / 24, error: HOSTILE }] },
  { name: 'new1', days: [] },
  { name: 'loose1', days: daily(1, 200), isUnplanned: true },
  { name: 'test1', days: daily(1, 300), excluded: `a test machine ${HOSTILE}` },
]

let stand: ConsoleStand

beforeAll(async () => {
  stand = await ConsoleStand.start()
})
afterEach(() => stand.closePages())
afterAll(() => stand?.[Symbol.asyncDispose]())

const rowOf = (page: Page, name: string) => page.getByRole('row', { name: new RegExp(name, 'u') })

/** Rows whose machines are shown, in their order. */
const shown = (page: Page): Promise<string[]> => page.locator('tbody a.machine').allInnerTexts()

test('a tenant without machines says what to do first', async () => {
  const { page, complaints } = await stand.open('owner', '')
  await page.getByText('No machine is backed up here yet').waitFor()
  await page.getByText(/varve-gateway enrol --tenant acme/u).waitFor()
  expect(await axeFindings(page)).toEqual([])
  expect(complaints).toEqual([])
  if (SHOTS !== undefined) await page.screenshot({ path: `${SHOTS}/protection empty.png` })
})

describe('machines in every state', () => {
  let machine: RealMachine

  beforeAll(async () => {
    machine = await RealMachine.start(stand)
    await makeMachines(stand, MACHINES)
    await machine.backUp()
  })
  afterAll(() => machine?.[Symbol.asyncDispose]())

  test('what is worst comes first and nothing hurts the eye, in any look', async () => {
    const { page, complaints } = await stand.open('operator', '')
    await rowOf(page, 'fails1').waitFor()
    expect((await shown(page)).slice(0, 4)).toEqual(['fails1', 'late1', 'loose1', 'new1'])
    const shot = async (name: string) =>
      SHOTS === undefined ? null : page.screenshot({ path: `${SHOTS}/protection-${name}.png` })
    expect(await page.getByText(/4 of 305 machines are not protected/u).count()).toBe(1)
    expect(await findingsOfLooks(page, 'protection', shot)).toEqual([])
    expect(complaints).toEqual([])
  })

  test('tiles and a part of the name narrow the list, and the address says so', async () => {
    const { page, complaints } = await stand.open('viewer', '')
    await page.getByRole('button', { name: /Not protected/u }).click()
    await page.waitForURL(/state=unprotected/u)
    await rowOf(page, 'web000').waitFor({ state: 'detached' })
    expect((await shown(page)).toSorted()).toEqual(['fails1', 'late1', 'loose1', 'new1'])
    await page.getByRole('button', { name: /Excluded/u }).click()
    await rowOf(page, 'test1').waitFor()
    // text, whatever it looks like
    expect(await page.getByText('<img src=x').count()).toBeGreaterThan(0)
    expect(await page.locator('main img').count()).toBe(0)
    expect(await axeFindings(page)).toEqual([])
    await page.goto(`${stand.gateway.httpUrl}/#/protection?q=web29&order=name`)
    await rowOf(page, 'web290').waitFor()
    await rowOf(page, 'web299').waitFor()
    expect(await shown(page)).toEqual(Array.from({ length: 10 }, (_, index) => `web29${index}`))
    // a viewer may look, not act
    expect(await page.getByRole('checkbox').count()).toBe(0)
    await page.getByLabel('Part of a name').fill('nothing-like-it')
    await page.getByText('No machine is like that').waitFor()
    await page.getByRole('button', { name: 'Show all machines' }).click()
    await rowOf(page, 'fails1').waitFor()
    expect(complaints).toEqual([])
  })

  test('many machines: one is backed up, the others say why not, all by the keyboard', async () => {
    const { page, complaints } = await stand.open('operator', '#/protection?q=1&order=name')
    await rowOf(page, 'db1').waitFor()
    for (const name of ['db1', 'late1']) {
      await page.getByRole('checkbox', { name: `Choose ${name}` }).focus()
      await page.keyboard.press('Space')
    }
    await page.getByText('2 machines chosen').waitFor()
    await page.getByRole('button', { name: 'Back up now' }).focus()
    await page.keyboard.press('Enter')
    const dialog = page.getByRole('dialog')
    await dialog.waitFor()
    expect(await axeFindings(page)).toEqual([])
    expect(await dialog.innerText()).toContain('A backup of db1, late1 starts now')
    await dialog.getByRole('button', { name: 'Back up now' }).focus()
    await page.keyboard.press('Enter')
    await page.getByText(/1 of 2 machines refused/u).waitFor()
    expect(await page.locator('.outcome').innerText()).toMatch(/late1: .*AGENT_OFFLINE/u)
    expect(await axeFindings(page)).toEqual([])
    if (SHOTS !== undefined) await page.screenshot({ path: `${SHOTS}/protection refused.png` })
    expect(complaints).toEqual([])
  })

  test('a machine is excluded with a reason, and included again', async () => {
    const { page } = await stand.open('operator', '#/protection?q=new1')
    await page.getByRole('checkbox', { name: 'Choose new1' }).click()
    await page.getByRole('button', { name: 'Exclude', exact: true }).click()
    const dialog = page.getByRole('dialog')
    await dialog.getByLabel(/Why/u).fill('not in use yet')
    await dialog.getByLabel(/Until/u).selectOption('day')
    await dialog.getByRole('button', { name: 'Exclude', exact: true }).click()
    await rowOf(page, 'new1').getByText('Excluded').waitFor()
    await rowOf(page, 'new1').getByText('not in use yet').waitFor()
    await page.getByRole('checkbox', { name: 'Choose new1' }).click()
    await page.getByRole('button', { name: 'Include', exact: true }).click()
    await dialog.getByRole('button', { name: 'Include', exact: true }).click()
    await rowOf(page, 'new1').getByText('Never backed up').waitFor()
  })

  test('further pages come as somebody scrolls, and what is shown stays while the gateway is away', async () => {
    const { page, complaints } = await stand.open('viewer', '')
    await rowOf(page, 'fails1').waitFor()
    await page.getByRole('region').evaluate((region) => region.scrollTo({ top: 1e6 }))
    await page.waitForFunction(() => {
      const table = document.querySelector('.table')!
      table.scrollTo({ top: 1e6 })
      return table.querySelectorAll('tbody a.machine').length > 0 && table.textContent.includes('web299')
    })
    await stand.restartGateway(async () => {
      await page.getByText(/No connection to the gateway/u).waitFor()
      expect(await rowOf(page, 'web299').count()).toBe(1)
    })
    await page.getByText(/No connection to the gateway/u).waitFor({ state: 'detached' })
    expect(complaints).toEqual([])
  })
})
