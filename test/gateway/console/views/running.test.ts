// The views Running and Events in a real browser, with a backup that an agent of the test's own carries out, by role.
import type { Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import type { Identity } from '../../../../agent/identity.ts'
import { VarveError } from '../../../../protocol/errors.ts'
import { DOWN, RUN, UP, type Params } from '../../../../protocol/methods.ts'
import type { Peer } from '../../../../protocol/peer.ts'
import { eventually } from '../../../support/temp.ts'
import { unlike } from '../looks.ts'
import { axeFindings, ConsoleStand, isTooWide, NARROW, type Shown } from '../stand.ts'

const SHOTS = process.env['VARVE_SHOTS']
const MIB = 1024 * 1024
const CHUNK = 64 * 1024
const SIZE = 64 * MIB

/** What must be shown as text, whatever an agent says. */
const HOSTILE = '<img src=x onerror=document.title=1>'

const SPENT = { overMs: 2000, readingMs: 100, compressingMs: 50, sendingMs: 1850, answersMs: 0 }

let stand: ConsoleStand
let identity: Identity
let agent: Peer
let person: Peer
let order: Params<'agent.backup'>
let position = 0

const shot = async (page: Page, name: string): Promise<void> => {
  if (SHOTS !== undefined) await page.screenshot({ path: `${SHOTS}/${name}.png`, fullPage: true })
}

const isClean = async ({ page, complaints }: Shown): Promise<void> => {
  expect(await axeFindings(page)).toEqual([])
  expect(await isTooWide(page)).toBe(false)
  expect(await page.title()).not.toBe('1')
  expect(complaints).toEqual([])
}

/** Connects the agent; it holds these jobs. */
const connect = async (jobs: string[]): Promise<void> => {
  const handlers = {
    'agent.backup': async (asked: Params<'agent.backup'>) => {
      order = asked
      return {}
    },
    'agent.cancel': async () => ({}),
  }
  agent = await stand.gateway.connectAs(await identity.assertion(Date.now()), { serving: true, handlers })
  const machines = [{ name: 'db1', uuid: null, here: true }]
  await agent.call('agent.inventory', { host: 'h1', machines, jobs })
}

/** Makes so many more chunks of the disk durable. */
const upload = async (chunks: number): Promise<void> => {
  const call = agent.open('image.upload', { job: order.job, disk: 'vda' })
  call.result.catch(() => {})
  const messages = call.messages[Symbol.asyncIterator]()
  const first = await messages.next()
  if (first.done === true || first.value[0] !== DOWN.start) throw new Error('the upload does not begin')
  await call.send([UP.runs, [[RUN.zero, chunks]]])
  for (let next = await messages.next(); next.done !== true; next = await messages.next())
    if (next.value[0] === DOWN.durable) break
  position += chunks
  call.cancel()
}

beforeAll(async () => {
  stand = await ConsoleStand.start()
  identity = await stand.gateway.enrolAgent(stand.folder.join('h1'))
  await connect([])
  person = await stand.gateway.connectAs(await stand.gateway.tokenFor('operator'))
})
afterEach(() => stand.closePages())
afterAll(async () => await stand?.[Symbol.asyncDispose]())

test('with nothing that runs it says so, and what is due', async () => {
  const shown = await stand.open('viewer', '#/running')
  await shown.page.getByText('No backup is running.').waitFor()
  await shown.page.getByText('Nothing is due.').waitFor()
  await isClean(shown)
})

test('a backup: its phase, what limits it, a break that it went on after, an agent that is away, and its cancellation', async () => {
  const shown = await stand.open('operator', '#/running')
  const { page } = shown
  const { job } = await person.call('backup.start', { machine: 'db1', full: false })
  const card = page.getByRole('listitem').filter({ has: page.getByRole('link', { name: 'db1' }) })
  await card.getByText('Preparing the machine').waitFor()
  const read = { name: 'vda', size: SIZE, kind: 'full', reason: 'first', base: null, evidence: '' } as const
  const promised = { timeMs: Date.now(), consistency: 'crash', note: null, configuration: '{}' } as const
  await agent.call('backup.begin', { job, ...promised, leftOut: [], disks: [{ ...read, comparedChunks: 0 }] })
  await upload((16 * MIB) / CHUNK)
  await agent.call('backup.progress', { job, step: 'disk', spent: SPENT })
  await card.getByText('the link between host and gateway').waitFor()
  await card.getByText('vda\u2069: 16.0 MiB of 64.0 MiB').waitFor()
  await card.getByText('cannot be told yet').waitFor()
  await card.getByRole('img', { name: /Rates over the last minutes/u }).waitFor()
  await upload((8 * MIB) / CHUNK)
  await card.getByText('Went on after a break').waitFor()
  await isClean(shown)
  expect(await unlike(page, 'running')).toBe(null)
  await shot(page, 'running')
  const narrow = await stand.open('viewer', '#/running', { size: NARROW, theme: 'dark' })
  await narrow.page.getByText('Went on after a break').waitFor()
  expect(await narrow.page.getByRole('button', { name: /Cancel the backup/u }).count()).toBe(0)
  await isClean(narrow)
  await shot(narrow.page, 'running-narrow')

  // an agent that is away holds nothing up: the page goes on, and says so
  agent.close(new VarveError('CANCELLED', 'the host goes away'))
  await card.getByText('Its agent is not connected.').waitFor()
  await shot(page, 'running-away')
  await isClean(shown)
  await connect([job])
  await card.getByText('Its agent is not connected.').waitFor({ state: 'detached' })

  await card.getByRole('button', { name: /Cancel the backup/u }).focus()
  await page.keyboard.press('Enter')
  const dialog = page.getByRole('dialog')
  await dialog.getByText('no restore point comes of it').waitFor()
  await dialog.getByRole('button', { name: 'Keep it running' }).waitFor()
  await dialog.getByRole('button', { name: 'Cancel the backup' }).click()
  await page.getByText('No backup is running.').waitFor()
  await eventually(async () => (await person.call('jobs.list', { machine: null, running: true })).jobs.length === 0)
  expect(position).toBeGreaterThan(0)
})

test('events come as they happen, are narrowed, and come again after the gateway was away', async () => {
  const shown = await stand.open('owner', '#/events')
  const { page } = shown
  await page.getByRole('cell', { name: 'job.failed' }).waitFor()
  const { job } = await person.call('backup.start', { machine: 'db1', full: false })
  await eventually(async () => (await page.getByRole('cell', { name: 'job.started' }).count()) === 2)
  await agent.call('backup.fail', { job, code: 'QMP_ERROR', message: HOSTILE })
  await page.getByRole('cell', { name: HOSTILE }).first().waitFor()
  await isClean(shown)
  expect(await unlike(page, 'events')).toBe(null)
  await shot(page, 'events')
  await page.getByLabel('Kind').selectOption('job.failed')
  await page.waitForURL(/kind=job\.failed/u)
  await page.getByRole('cell', { name: 'job.started' }).first().waitFor({ state: 'detached' })
  await page.getByRole('textbox', { name: 'Machine' }).fill('nowhere')
  await page.keyboard.press('Enter')
  await page.getByRole('alert').getByText('NOT_FOUND').waitFor()
  const narrow = await stand.open('viewer', '#/events', { size: NARROW, theme: 'dark' })
  await narrow.page
    .getByRole('row', { name: /cancelled/u })
    .first()
    .waitFor()
  await isClean(narrow)
  await shot(narrow.page, 'events-narrow')
  const again = await stand.open('owner', '#/events')
  await again.page.getByRole('cell', { name: 'job.failed' }).first().waitFor()
  await stand.restartGateway()
  await connect([])
  person = await stand.gateway.connectAs(await stand.gateway.tokenFor('operator'))
  await person.call('backup.start', { machine: 'db1', full: false })
  await eventually(async () => (await again.page.getByRole('cell', { name: 'job.started' }).count()) === 3)
})
