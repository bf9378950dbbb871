// What people do at the desk: targets whose secrets are kept and never shown, tests in bounded number, digests; and the ping.
import { rm } from 'node:fs/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { unaudited } from '../../../gateway/catalog/change.ts'
import { NoticeDesk, RETRIES_MAX, TESTS_MAX, type Scope } from '../../../gateway/notify/desk.ts'
import { NOTICE_KEY_NAME } from '../../../gateway/notify/secrets.ts'
import { tempFolder, type TempFolder } from '../../support/temp.ts'
import { codeOf } from '../auth/test-authority.ts'
import { Receiver } from './servers.ts'
import { MINUTE_MS, NOON_MS, NoticeStand } from './stand.ts'

const HOOK = { kind: 'webhook', insecure: false, template: null, authority: null } as const

let temp: TempFolder

beforeAll(async () => void (temp = await tempFolder()))
afterAll(() => temp[Symbol.asyncDispose]())

const openDesk = (stand: NoticeStand, anywhere = true): Promise<NoticeDesk> =>
  NoticeDesk.open({ folder: temp.path, catalog: stand.catalog, clock: stand.clock, anywhere })

const hook = (url: string, rest: object = {}) => ({
  name: 'hook',
  settings: HOOK,
  secrets: { url, key: 'swordfish' },
  hourly: 30,
  rule: true,
  ...rest,
})

test('a target brings its rule, is shown without its secrets, and keeps them when it changes', async () => {
  await using stand = await NoticeStand.open()
  const desk = await openDesk(stand)
  const acme: Scope = { tenant: stand.tenant, tenantName: 'acme' }
  const url = 'https://hook.example/T0/hush'
  const { target, added } = await desk.setTarget(acme, hook(url), unaudited)
  expect([added, target]).toEqual([
    true,
    { name: 'hook', settings: HOOK, hourly: 30, origin: 'https://hook.example', set: ['url', 'key'], secrets: 'set' },
  ])
  expect(await stand.catalog.notices.rules({ tenant: stand.tenant })).toEqual([
    {
      name: 'hook',
      match: { severity: 'warning', not: { kinds: ['job.failed'] } },
      targets: ['hook'],
      quiet: null,
      repeatMs: null,
    },
  ])
  const changed = await desk.setTarget(acme, hook(url, { secrets: {}, hourly: 5 }), unaudited)
  expect(changed).toMatchObject({ added: false, target: { hourly: 5, set: ['url', 'key'] } })
  const [row] = await stand.catalog.notices.targets({ tenant: stand.tenant })
  expect(desk.outward.secretsOf(stand.tenant, row!)).toEqual({ url, key: 'swordfish' })
  expect(JSON.stringify(await desk.targets(acme))).not.toMatch(/hush|swordfish/u)
  expect(await desk.targets({ tenant: null, tenantName: null })).toEqual([])
  await rm(temp.join(NOTICE_KEY_NAME))
  expect(await (await openDesk(stand)).targets(acme)).toMatchObject([{ secrets: 'lost' }])
})

test('a match is bounded as a whole, whatever it is nested of', async () => {
  await using stand = await NoticeStand.open()
  const desk = await openDesk(stand)
  await stand.addTarget('mail')
  const acme: Scope = { tenant: stand.tenant, tenantName: 'acme' }
  const kinds = Array.from({ length: 3 }, () => 'machine.state' as const)
  const set = (parts: number) => {
    const match = { any: Array.from({ length: parts }, () => ({ all: [{ kinds }, { kinds }] })) }
    return desk.setRule(acme, { name: 'r', match, targets: ['mail'], quiet: null, repeatMs: null }, unaudited)
  }
  expect([await codeOf(set(20)), await codeOf(set(60))]).toEqual(['none', 'PARAMS_INVALID'])
})

test('all rules together, and all mutes, are bounded: each event is held against all of them', async () => {
  await using stand = await NoticeStand.open()
  const desk = await openDesk(stand)
  await stand.addTarget('mail')
  const acme: Scope = { tenant: stand.tenant, tenantName: 'acme' }
  const match = { machines: Array.from({ length: 60 }, () => 'a'.repeat(60)) }
  const set = (name: string, rest: object = { match }) =>
    desk.setRule(acme, { name, match: {}, targets: ['mail'], quiet: null, repeatMs: null, ...rest }, unaudited)
  for (let index = 0; index < 8; index++) await set(`r${index}`)
  expect([await codeOf(set('more')), await codeOf(set('r0')), await codeOf(set('small', {}))]).toEqual([
    'LIMIT_REACHED',
    'none',
    'none',
  ])
  for (let index = 0; index < 8; index++) await stand.mute(match, NOON_MS + MINUTE_MS)
  expect(await codeOf(stand.mute(match, NOON_MS + MINUTE_MS))).toBe('LIMIT_REACHED')
  stand.clock.advance(2 * MINUTE_MS)
  expect(await codeOf(stand.mute(match, NOON_MS + 3 * MINUTE_MS))).toBe('none')
})

test('tests say what the server answered, so many in a minute', async () => {
  await using stand = await NoticeStand.open()
  await using server = await Receiver.listen((_, response) => void response.writeHead(202).end('thanks'))
  const desk = await openDesk(stand)
  const acme: Scope = { tenant: stand.tenant, tenantName: 'acme' }
  await desk.setTarget(acme, hook(`${server.url}/x`), unaudited)
  for (let time = 0; time < TESTS_MAX; time++)
    expect(await desk.test(acme, 'hook')).toMatchObject({ sent: true, answer: '202 thanks' })
  expect(await codeOf(desk.test(acme, 'hook'))).toBe('TOO_MANY_REQUESTS')
  expect(await codeOf(desk.test(acme, 'nowhere'))).toBe('NOT_FOUND')
  stand.clock.advance(MINUTE_MS)
  expect(await codeOf(desk.test(acme, 'hook'))).toBe('none')
  expect(server.requests).toHaveLength(TESTS_MAX + 1)
})

test('a digest says all that holds, the worst first', async () => {
  await using stand = await NoticeStand.open()
  const desk = await openDesk(stand)
  const acme: Scope = { tenant: stand.tenant, tenantName: 'acme' }
  await stand.addTarget('mail')
  await stand.start()
  expect(await desk.digest(acme, 'mail', unaudited)).toMatchObject({ holding: 0 })
  await stand.late('db1')
  await stand.late('db2', 'error', 'db2 fails')
  expect(await desk.digest(acme, 'mail', unaudited)).toMatchObject({ holding: 2 })
  await stand.pass(MINUTE_MS)
  const text = stand.received.map(({ message }) => message.text)
  expect(stand.take()).toEqual(['digest: acme: all is well', 'digest: acme: 2 to know'])
  expect(text[1]!.indexOf('db2 fails')).toBeLessThan(text[1]!.indexOf('db1 is late'))
})

test('digests and second attempts are bounded: nobody fills the outbox, or hammers a server, by asking', async () => {
  await using stand = await NoticeStand.open()
  const desk = await openDesk(stand)
  const acme: Scope = { tenant: stand.tenant, tenantName: 'acme' }
  await stand.addTarget('mail')
  let id = ''
  for (let time = 0; time < TESTS_MAX; time++) id = (await desk.digest(acme, 'mail', unaudited)).notice
  expect(await codeOf(desk.digest(acme, 'mail', unaudited))).toBe('TOO_MANY_REQUESTS')
  for (let time = 0; time < RETRIES_MAX; time++) await desk.retry(acme, id, unaudited)
  expect(await codeOf(desk.retry(acme, id, unaudited))).toBe('TOO_MANY_REQUESTS')
  const asked = { tenant: stand.tenant, state: null, before: null, limit: 100 }
  expect(await stand.catalog.notices.outbox(asked)).toHaveLength(TESTS_MAX)
})

test('the ping goes out as often as it is set, is shown without its secret, and says what went wrong', async () => {
  await using stand = await NoticeStand.open()
  let status = 200
  await using server = await Receiver.listen((_, response) => void response.writeHead(status).end())
  const { deadMan } = await openDesk(stand)
  const { signal } = new AbortController()
  expect([await deadMan.view(), await deadMan.tick(signal)]).toEqual([null, null])
  await deadMan.set({ url: `${server.url}/hush`, everyMs: 5 * MINUTE_MS, insecure: false }, unaudited)
  const shown = { origin: server.url, everyMs: 5 * MINUTE_MS }
  expect(await deadMan.view()).toEqual({ ...shown, answeredMs: null, error: null })
  expect(await deadMan.tick(signal)).toBe(5 * MINUTE_MS)
  stand.clock.advance(MINUTE_MS)
  expect(await deadMan.tick(signal)).toBe(4 * MINUTE_MS)
  expect(server.requests).toMatchObject([{ method: 'GET', path: '/hush' }])
  const answeredMs = stand.clock.now() - MINUTE_MS
  expect(await deadMan.view()).toEqual({ ...shown, answeredMs, error: null })
  status = 500
  stand.clock.advance(4 * MINUTE_MS)
  await deadMan.tick(signal)
  expect(await deadMan.view()).toEqual({ ...shown, answeredMs, error: 'the server answered 500' })
  // a catalog that cannot be written is no gateway that is well
  stand.clock.advance(5 * MINUTE_MS)
  Reflect.set(stand.catalog.settings, 'set', () => Promise.reject(new Error('disk I/O error')))
  await expect(deadMan.tick(signal)).rejects.toThrow('disk I/O error')
  expect(server.requests).toHaveLength(2)
})

test('a ping of a wrong URL is refused, and one that is ended is gone', async () => {
  await using stand = await NoticeStand.open()
  const { deadMan } = await openDesk(stand)
  const set = (url: string) => deadMan.set({ url, everyMs: MINUTE_MS, insecure: false }, unaudited)
  expect(await codeOf(set('http://ping.example/x'))).toBe('PARAMS_INVALID')
  await set('https://ping.example/x')
  await deadMan.set(null, unaudited)
  expect(await deadMan.view()).toBeNull()
})
