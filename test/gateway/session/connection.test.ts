// One connection from hello to its end, with a clock moved by hand: deadline, versions, tokens, expiry, renewal, and frames
// that may not come.
import { intercepted } from '../../support/intercept.ts'
import { expect, test } from 'vitest'
import { verifyBearer } from '../../../gateway/auth/bearer.ts'
import { PROGRAM } from '../../../gateway/session/connection.ts'
import { errorFrame, FRAME } from '../../../protocol/frames.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { serviceOf } from '../../../gateway/service/service.ts'
import { HELLO_TIMEOUT_MS } from '../../../protocol/limits.ts'
import { codeOf } from '../auth/test-authority.ts'
import { HELLO, MemorySession, TestServices } from '../services.ts'

test('a token in hello opens a session, whose welcome says who it is and until when', async () => {
  await using test = await TestServices.open()
  const session = test.connect()
  const welcome = await session.hello(test.services, { token: await test.token('viewer') })
  expect(welcome).toEqual({
    version: 1,
    features: [],
    program: PROGRAM,
    subject: 'a viewer',
    role: 'viewer',
    tenant: 'acme',
    expiresMs: test.clock.now() + 60 * 60 * 1000,
  })
  expect(await session.peer.call('machines.list', {})).toEqual({ machines: [], next: null })
  expect(test.services.registry.count).toBe(1)
  session.connection.closed()
  await new Promise((resolve) => setImmediate(resolve))
  expect(test.services.registry.count).toBe(0)
})

test('without a hello in time the connection ends, and with one it does not', async () => {
  await using test = await TestServices.open()
  const silent = test.connect()
  const good = await test.session(await test.token('viewer'))
  test.clock.advance(HELLO_TIMEOUT_MS - 1)
  expect(silent.frames).toEqual([])
  test.clock.advance(1)
  expect((await silent.closed).code).toBe('HELLO_TIMEOUT')
  expect((await silent.first()).slice(0, 3)).toEqual([FRAME.error, 0, 'HELLO_TIMEOUT'])
  expect(await good.peer.call('machines.list', {})).toEqual({ machines: [], next: null })
})

test.each([
  ['a request first', [FRAME.request, 1, 'machines.list', {}, 0], 'FRAME_UNEXPECTED'],
  ['a pong first', [FRAME.pong, 0], 'FRAME_UNEXPECTED'],
  ['no version in common', [FRAME.hello, { ...HELLO, versionMin: 2, versionMax: 9 }], 'VERSION_UNSUPPORTED'],
  ['no token', [FRAME.hello, HELLO], 'TOKEN_MISSING'],
  ['an empty token', [FRAME.hello, { ...HELLO, token: '' }], 'TOKEN_MISSING'],
  ['nonsense for a token', [FRAME.hello, { ...HELLO, token: 'a.b.c' }], 'TOKEN_MALFORMED'],
] as const)('%s ends the connection with its code', async (_, frame, code) => {
  await using test = await TestServices.open()
  const session = test.connect()
  session.send(frame as Parameters<typeof session.send>[0])
  expect((await session.closed).code).toBe(code)
  expect((await session.first()).slice(0, 3)).toEqual([FRAME.error, 0, code])
  expect(test.services.registry.count).toBe(0)
  // what comes later is of no use
  session.send([FRAME.hello, { ...HELLO, token: await test.token('owner') }])
  await new Promise((resolve) => setImmediate(resolve))
  expect(session.frames).toHaveLength(1)
})

test('bytes that are no frame end the connection', async () => {
  await using test = await TestServices.open()
  const session = test.connect()
  session.connection.receive(new Uint8Array([0xc1, 1, 2]))
  expect((await session.closed).code).toBe('FRAME_INVALID')
})

test('nothing may follow hello before the welcome, and an end meanwhile is the end', async () => {
  await using test = await TestServices.open()
  const token = await test.token('viewer')
  const eager = test.connect()
  eager.send([FRAME.hello, { ...HELLO, token }])
  eager.send([FRAME.request, 1, 'machines.list', {}, 0])
  expect((await eager.closed).code).toBe('FRAME_UNEXPECTED')
  const gone = test.connect()
  gone.send([FRAME.hello, { ...HELLO, token }])
  gone.connection.closed()
  const stopped = test.connect()
  stopped.send([FRAME.hello, { ...HELLO, token }])
  stopped.connection.end(new VarveError('GOING_AWAY', 'stopping'))
  expect((await stopped.closed).code).toBe('GOING_AWAY')
  await codeOf(test.session(token))
  expect(test.services.registry.count).toBe(1)
  expect(gone.frames).toEqual([])
})

test('a second hello on an open session ends it', async () => {
  await using test = await TestServices.open()
  const session = await test.session(await test.token('viewer'))
  session.send([FRAME.hello, HELLO])
  expect((await session.closed).code).toBe('FRAME_UNEXPECTED')
  expect((await session.peer.closed).code).toBe('FRAME_UNEXPECTED')
})

test('a refused token is in the audit log of whoever it names, and never the token itself', async () => {
  await using test = await TestServices.open()
  const agent = await test.agent()
  const late = agent.assertion({ exp: Math.floor(test.clock.now() / 1000) - 1 })
  expect(await codeOf(test.connect().hello(test.services, { token: late }))).toBe('TOKEN_EXPIRED')
  expect(await codeOf(test.connect().hello(test.services, { token: 'x.y.z' }))).toBe('TOKEN_MALFORMED')
  const own = (await test.audited(test.acme)).filter(({ action }) => action === 'connect')
  expect(own).toMatchObject([
    { subject: agent.id, role: 'agent', outcome: 'TOKEN_EXPIRED', details: { address: '192.0.2.1' } },
  ])
  expect(await test.audited(null)).toMatchObject([{ action: 'connect', outcome: 'TOKEN_MALFORMED' }])
  expect(JSON.stringify(await test.audited(test.acme))).not.toContain(late)
})

test('only an agent serves, and a person who would is in the audit log', async () => {
  await using test = await TestServices.open()
  const token = await test.token('owner')
  const session = test.connect()
  expect(await codeOf(session.hello(test.services, { token, serving: true }))).toBe('ROLE_FORBIDDEN')
  expect((await test.audited(test.acme)).at(-1)).toMatchObject({
    action: 'connect',
    subject: 'a owner',
    outcome: 'ROLE_FORBIDDEN',
  })
  const agent = await test.agent()
  await test.session(agent.assertion(), { serving: true })
  expect(test.services.registry.online(agent.id)).toBe(true)
})

test('a session ends when its token does', async () => {
  await using test = await TestServices.open()
  const session = await test.session(await test.token('viewer', test.acme, 'anna', 60_000))
  await test.pass(59_000)
  expect(await session.peer.call('machines.list', {})).toEqual({ machines: [], next: null })
  await test.pass(2000)
  expect((await session.peer.closed).code).toBe('TOKEN_EXPIRED')
  expect(test.services.registry.count).toBe(0)
})

test('a token that ended between upgrade and hello opens nothing', async () => {
  await using test = await TestServices.open()
  const token = await test.token('viewer', test.acme, 'anna', 5000)
  const claims = await verifyBearer(test.authority, token, test.clock.now())
  const session = new MemorySession(test.services, claims)
  test.clock.advance(6000)
  await session.hello(test.services, {})
  expect((await session.closed).code).toBe('TOKEN_EXPIRED')
  expect(test.services.registry.count).toBe(0)
})

test('a renewed session goes on, an ill renewed one ends at its old time', async () => {
  await using test = await TestServices.open()
  const agent = await test.agent()
  const { peer } = await test.session(agent.assertion(), { serving: true })
  await test.pass(200_000)
  const renewed = await peer.call('session.renew', { token: agent.assertion() })
  expect(renewed.expiresMs).toBe(test.clock.now() + 300_000)
  await test.pass(250_000)
  expect(await peer.call('machines.list', {})).toEqual({ machines: [], next: null })

  const stranger = await test.agent()
  const foreign = await test.agent(test.other)
  const refusals = [
    [stranger.assertion(), 'TOKEN_CLAIMS'],
    [foreign.assertion(), 'TOKEN_CLAIMS'],
    [await test.token('owner', test.acme, agent.id), 'TOKEN_CLAIMS'],
    [agent.assertion({ exp: 1 }), 'TOKEN_EXPIRED'],
    ['a.b.c', 'TOKEN_MALFORMED'],
  ] as const
  for (const [token, code] of refusals) expect(await codeOf(peer.call('session.renew', { token }))).toBe(code)
  const entries = [...(await test.audited(test.acme)), ...(await test.audited(null))]
  const outcomes = entries.filter(({ action }) => action === 'session.renew').map(({ outcome }) => outcome)
  expect(outcomes.toSorted()).toEqual(refusals.map(([, code]) => code).toSorted())
  await test.pass(60_000)
  expect((await peer.closed).code).toBe('TOKEN_EXPIRED')
  expect(test.services.registry.online(agent.id)).toBe(false)
})

test('a session ends when its life is over, whatever the time of day was set to meanwhile', async () => {
  await using test = await TestServices.open()
  const hour = 60 * 60 * 1000
  const { peer } = await test.session(await test.token('viewer'))
  test.clock.set(test.clock.now() + 30 * 24 * hour)
  await test.pass(hour - 60_000)
  expect(await peer.call('machines.list', {})).toEqual({ machines: [], next: null })
  test.clock.set(0)
  await test.pass(60_000)
  expect((await peer.closed).code).toBe('TOKEN_EXPIRED')
})

test('what fails inside is for the log, not for the peer', async () => {
  await using test = await TestServices.open()
  const token = await test.token('viewer')
  const { services } = test
  const catalog = intercepted(services.datastore.catalog, () => Promise.reject(new TypeError('secret of /the/inside')))
  const authority = { ...services.authority, catalog }
  const broken = { ...services, ...serviceOf({ ...services, authority }) }
  const session = new MemorySession(broken, null)
  await expect(session.hello(broken, { token })).rejects.toMatchObject({
    code: 'PEER_FAILED',
    details: { code: 'INTERNAL' },
  })
  expect(JSON.stringify(await session.first())).not.toContain('secret')
  expect(errorFrame(0, await session.closed)[3]).not.toContain('secret')
})
