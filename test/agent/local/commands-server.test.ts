// Commands that use the agent's session: without a connection of their own, and by one of their own once the agent is gone.
import { randomBytes, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { stat, writeFile } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { expect, test } from 'vitest'
import { serveCommands } from '../../../agent/local/commands-server.ts'
import { lentSession } from '../../../agent/local/lent-session.ts'
import { COMMANDS_SOCKET, type Lender } from '../../../agent/local/lent.ts'
import { keepRenewed } from '../../../agent/session/link.ts'
import { ASSERTION_LIFE_S } from '../../../protocol/claims.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { FRAME_BYTES_MAX } from '../../../protocol/limits.ts'
import { systemClock } from '../../../protocol/host/clock.ts'
import type { Handlers, Peer } from '../../../protocol/peer.ts'
import { backUp, command, startCommand, startStand, type Stand } from '../commands/stand.ts'
import { HandClock } from '../../support/hand-clock.ts'
import { eventually, tempFolder } from '../../support/temp.ts'

const WELCOME = { version: 1, features: [], program: 'test', subject: 'a', role: 'agent', tenant: 't', expiresMs: 0 }

/** An address at which no gateway is. */
const NOWHERE = 'ws://127.0.0.1:1'

const lenderOf = ({ temp }: Stand): Lender => ({ state: temp.join('state'), gateway: NOWHERE })

const lend = (stand: Stand, session: () => Peer | null, gateway = NOWHERE): Promise<AsyncDisposable> =>
  serveCommands(
    () => {
      const peer = session()
      return peer === null ? null : { peer, welcome: WELCOME }
    },
    { ...lenderOf(stand), gateway, clock: systemClock },
  )

/** The configuration with an address at which no gateway is. */
const withoutGateway = async ({ temp }: Stand): Promise<string[]> => {
  const file = temp.join('alone.toml')
  const machine = `[[machine]]\nname = "db1"\nqmp = "${temp.join('qmp')}"\n`
  await writeFile(file, `gateway = "${NOWHERE}"\nstate = "${temp.join('state')}"\nlog_level = "silent"\n${machine}`)
  return ['--config', file]
}

/** An agent whose backups begin once `ready` resolves; tells each order. */
const serve = async (
  stand: Stand,
  ready: Promise<void> = Promise.resolve(),
): Promise<{ peer: Peer; jobs: string[] }> => {
  const jobs: string[] = []
  const handlers: Handlers = {
    'agent.backup': async (order) => {
      jobs.push(order.job)
      void ready.then(() => backUp(peer, stand.temp, order, randomBytes(65_536))).catch(() => undefined)
      return {}
    },
    'agent.cancel': async ({ job }) => {
      void peer.call('backup.released', { job })
      return {}
    },
  }
  const peer = await stand.serve(handlers)
  return { peer, jobs }
}

/** A session that tells the methods which commands call over it; one of them may never be answered. */
const spied = (peer: Peer, hangs: string | null = null): { readonly session: Peer; readonly called: string[] } => {
  const called: string[] = []
  const open: Peer['open'] = (name, ...rest) => {
    called.push(name)
    if (name !== hangs) return peer.open(name, ...rest)
    const messages = { [Symbol.asyncIterator]: () => ({ next: () => new Promise(() => undefined) }) }
    return { messages, result: new Promise(() => undefined) } as unknown as ReturnType<typeof peer.open<typeof name>>
  }
  return { session: { open, closed: peer.closed } as unknown as Peer, called }
}

test('a backup needs no connection of its own, and errors are the gateway’s', async () => {
  await using stand = await startStand()
  const { peer, jobs } = await serve(stand)
  await using _lent = await lend(stand, () => peer)
  const config = await withoutGateway(stand)
  const { code, stdout, stderr } = await command('backup', 'db1', '--json', ...config)
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  expect(JSON.parse(stdout)).toMatchObject({ point: { id: jobs[0], machine: 'db1' }, released: true })
  const unknown = await command('backup', 'db2', ...config)
  expect(unknown.code).toBe(1)
  expect(unknown.stderr).toContain('NOT_FOUND')
})

test('an agent without a session lends none: the command connects by itself', async () => {
  await using stand = await startStand()
  await serve(stand)
  await using _lent = await lend(stand, () => null, stand.gateway.url)
  expect((await command('backup', 'db1', ...stand.config)).code).toBe(0)
  const away = await command('backup', 'db1', '--timeout', '1s', ...(await withoutGateway(stand)))
  expect(away.code).toBe(3)
})

test('a command whose agent goes away follows its backup by itself', async () => {
  await using stand = await startStand()
  const ready = Promise.withResolvers<void>()
  const { peer, jobs } = await serve(stand, ready.promise)
  const { session, called } = spied(peer)
  const lent = await lend(stand, () => session, stand.gateway.url)
  const running = startCommand('backup', 'db1', ...stand.config)
  await eventually(() => called.includes('jobs.watch'))
  await lent[Symbol.asyncDispose]()
  ready.resolve()
  expect(await running.ended).toMatchObject({ code: 0 })
  expect(jobs.length).toBe(1)
})

test.each(['answers', 'hangs'])('an interrupted command cancels its backup, also where the agent %s', async (how) => {
  await using stand = await startStand()
  const { peer, jobs } = await serve(stand, new Promise(() => undefined))
  const { session, called } = spied(peer, how === 'hangs' ? 'jobs.cancel' : null)
  await using _lent = await lend(stand, () => session, stand.gateway.url)
  const running = startCommand('backup', 'db1', ...stand.config)
  await eventually(() => called.includes('jobs.watch'))
  running.child.kill('SIGINT')
  expect(await running.ended).toMatchObject({ code: 130, stderr: expect.stringContaining('was cancelled') })
  const followed = how === 'hangs' ? [] : ['jobs.watch']
  expect(called).toEqual(['backup.start', 'jobs.watch', 'jobs.cancel', ...followed])
  const owner = await stand.gateway.connectAs(await stand.gateway.tokenFor('owner'))
  const [job] = (await owner.call('jobs.list', { machine: null, limit: 1 })).jobs
  expect(job).toMatchObject({ id: jobs[0], state: 'failed', error: { code: 'CANCELLED' } })
})

test('what is lent ends with the session, and nothing else is lent', async () => {
  await using stand = await startStand()
  const { peer } = await serve(stand)
  await using _lent = await lend(stand, () => peer)
  const session = await lentSession(lenderOf(stand), 'test', systemClock)
  expect((await stat(stand.temp.join('state', COMMANDS_SOCKET))).mode & 0o777).toBe(0o600)
  await expect(session!.peer.call('machines.list', {})).rejects.toMatchObject({ code: 'METHOD_UNKNOWN' })
  peer.close(new VarveError('REPLACED', 'another one'))
  // not the agent's own reason, after which a command would not even try by itself
  expect(await session!.peer.closed).toMatchObject({ code: 'CONNECTION_LOST' })
})

test('what is lent for long is not renewed, as the agent does that', async () => {
  await using stand = await startStand()
  const { peer } = await serve(stand)
  await using _lent = await lend(stand, () => peer)
  const session = await lentSession(lenderOf(stand), 'test', systemClock)
  const clock = new HandClock()
  const renewed = Promise.withResolvers<void>()
  keepRenewed(session!.peer, async () => (renewed.resolve(), 'token'), clock)
  clock.advance(ASSERTION_LIFE_S * 1000)
  await renewed.promise
  // the answer comes behind that of the renewal
  await expect(session!.peer.call('jobs.cancel', { job: randomUUID() })).rejects.toMatchObject({ code: 'NOT_FOUND' })
  expect(session!.peer.isOver).toBe(false)
})

test('a session with another gateway than the command means is not lent', async () => {
  await using stand = await startStand()
  const { peer } = await serve(stand)
  await using _lent = await lend(stand, () => peer)
  expect(await lentSession({ ...lenderOf(stand), gateway: 'ws://127.0.0.1:2' }, 'test', systemClock)).toBe(null)
  expect(await lentSession(lenderOf(stand), 'test', systemClock)).not.toBe(null)
})

test('what breaks the rules ends its own connection alone', async () => {
  await using stand = await startStand()
  const { peer } = await serve(stand)
  await using _lent = await lend(stand, () => peer)
  const tooLong = Buffer.alloc(4)
  tooLong.writeUInt32BE(FRAME_BYTES_MAX + 1)
  for (const bytes of [tooLong, Buffer.from([0, 0, 0, 1, 0xc1]), Buffer.from([0, 0, 0, 2, 0x91, 0x0a])]) {
    const socket = connect(stand.temp.join('state', COMMANDS_SOCKET))
    socket.write(Buffer.from([0, 0, 0, NOWHERE.length]))
    socket.write(NOWHERE)
    socket.write(bytes)
    socket.resume()
    await once(socket, 'close')
  }
  expect(await lentSession(lenderOf(stand), 'test', systemClock)).not.toBe(null)
})

test('one that hangs is not waited for long', async () => {
  await using folder = await tempFolder()
  const server = createServer(() => undefined).listen(folder.join(COMMANDS_SOCKET))
  await once(server, 'listening')
  expect(await lentSession({ state: folder.path, gateway: NOWHERE }, 'test', systemClock)).toBe(null)
  server.close()
})
