// The view Protection in a real browser, with a machine that a real agent backs up.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { RealMachine } from '../real-machine.ts'
import { axeFindings, ConsoleStand, isTooWide, NARROW } from '../stand.ts'

let stand: ConsoleStand
let machine: RealMachine

beforeAll(async () => {
  stand = await ConsoleStand.start()
  machine = await RealMachine.start(stand)
  await machine.backUp()
})
afterAll(async () => {
  await machine?.[Symbol.asyncDispose]()
  await stand?.[Symbol.asyncDispose]()
})

test('a machine has its state with the reason, and a tile narrows the list', async () => {
  const { page, complaints } = await stand.open('viewer', '')
  const row = page.getByRole('row', { name: /db1/u })
  await row.waitFor()
  await page.getByRole('button', { name: /Fresh/u }).click()
  await page.waitForURL(/state=fresh/u)
  expect(await axeFindings(page)).toEqual([])
  expect(complaints).toEqual([])
  await page.screenshot({ path: '/tmp/lead/b.png' })
})

test('a narrow page shows it too', async () => {
  const { page } = await stand.open('viewer', '', { size: NARROW, theme: 'dark' })
  await page.getByRole('row', { name: /db1/u }).waitFor()
  expect(await axeFindings(page)).toEqual([])
  expect(await isTooWide(page)).toBe(false)
  await page.screenshot({ path: '/tmp/lead/c.png' })
})
