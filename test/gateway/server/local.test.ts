// The local socket: who is let in and as whom, its modes, long paths, what is left after an end and after a kill.
import path from 'node:path'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { connect, createServer, type Socket } from 'node:net'
import { expect, test } from 'vitest'
import { systemClock } from '../../../protocol/host/clock.ts'
import { Gateway } from '../../../gateway/gateway.ts'
import { openLog } from '../../../protocol/host/log.ts'
import { REVOCATION_INTERVAL_MS } from '../../../gateway/service/revocations.ts'
import { SOCKET_NAME } from '../../../gateway/server/local.ts'
import { SocketPath } from '../../../protocol/host/socket-path.ts'
import { dialLocal } from '../../../gateway/commands/dial-local.ts'
import type { Session } from '../../../protocol/client.ts'
import { decodeFrame, encodeFrame, FRAME } from '../../../protocol/frames.ts'
import { startGateway, TENANT } from '../../support/gateway.ts'
import { HandClock } from '../../support/hand-clock.ts'
import { tempFolder } from '../../support/temp.ts'
import { codeOf } from '../auth/test-authority.ts'

const tryDial = async (folder: string, tenant: string | null = TENANT): Promise<Session | null> => {
  await using socket = await SocketPath.of(folder, SOCKET_NAME)
  return await dialLocal({ socketPath: socket.path, tenant })
}

const dial = async (folder: string, tenant: string | null = TENANT): Promise<Session> =>
  (await tryDial(folder, tenant))!

const socketOf = (folder: string): string => path.join(folder, 'gateway.sock')

test('who can open the socket is owner of the tenant it names, under a name of its own, and keeps its session', async () => {
  await using temp = await tempFolder()
  const folder = temp.join('data')
  const clock = new HandClock(Date.now())
  await using gateway = await startGateway({ folder, clock })
  await gateway.addTenant('other')
  const { peer, welcome } = await dial(folder)
  expect(welcome).toMatchObject({ subject: 'local-administrator', role: 'owner', tenant: TENANT })
  expect(await peer.call('machines.list', {})).toEqual({ machines: [], next: null })
  expect((await dial(folder, 'other')).welcome.tenant).toBe('other')
  expect(await codeOf(dial(folder, 'nobody'))).toBe('NOT_FOUND')
  // without a name the session is the platform's
  const platform = await dial(folder, null)
  expect(platform.welcome).toMatchObject({ subject: 'local-administrator', role: 'platform', tenant: null })
  expect((await platform.peer.call('tenants.list', {})).tenants).toMatchObject([{ name: TENANT }, { name: 'other' }])
  expect(await codeOf(platform.peer.call('machines.list', {}))).toBe('ROLE_FORBIDDEN')
  // two rounds of the look for revoked tokens
  for (let round = 0; round < 2; round++) {
    await clock.advanceSettled(REVOCATION_INTERVAL_MS)
    await peer.call('machines.list', {})
  }
  await peer.call('machines.setGroup', { machine: 'db1', group: 'web' }).catch(() => {})
  const { entries } = await peer.call('audit.list', { limit: 100 })
  expect(entries).toContainEqual(
    expect.objectContaining({ subject: 'local-administrator', role: 'owner', action: 'machines.setGroup' }),
  )
})

test('the network is not let in by naming a tenant', async () => {
  await using temp = await tempFolder()
  await using gateway = await startGateway({ folder: temp.join('data') })
  const headers = { 'x-varve-tenant': TENANT }
  const answer = await fetch(`${gateway.httpUrl}/rpc`, { headers })
  expect(answer.status).toBe(404)
  const raw = connect(gateway.port, '127.0.0.1')
  raw.write(
    `GET /rpc HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Varve-Tenant: ${TENANT}\r\n` +
      'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: varve.v1\r\n\r\n',
  )
  const [upgraded] = (await once(raw, 'data')) as [Buffer]
  expect(upgraded.toString()).toContain('101')
  // hello without a token: the local socket would answer with a welcome
  const hello = { versionMin: 1, versionMax: 1, features: [], program: 'test', serving: false, token: null }
  const bytes = encodeFrame([FRAME.hello, hello])
  raw.write(Buffer.concat([Buffer.from([0x82, 0x80 | bytes.length, 0, 0, 0, 0]), bytes]))
  const [answered] = (await once(raw, 'data')) as [Buffer]
  const frame = decodeFrame(answered.subarray(2, 2 + (answered[1]! & 0x7f)))
  expect(frame.slice(0, 3)).toEqual([FRAME.error, 0, 'TOKEN_MISSING'])
  raw.destroy()
})

test('the socket is for its own user, is there while the gateway runs, and one left by a kill is replaced', async () => {
  await using temp = await tempFolder()
  const folder = temp.join('data')
  await mkdir(folder, { mode: 0o700 })
  // as a process that was killed leaves it: a socket on which nobody listens
  const dead = createServer()
  await new Promise<void>((resolve) => dead.listen(`${socketOf(folder)}.listening`, resolve))
  await symlink(`${socketOf(folder)}.listening`, socketOf(folder))
  {
    await using _gateway = await startGateway({ folder })
    const { mode } = await stat(socketOf(folder))
    expect(mode & 0o777).toBe(0o600)
    expect((await dial(folder)).welcome.role).toBe('owner')
  }
  dead.close()
  expect(await tryDial(folder)).toBeNull()
  await writeFile(socketOf(folder), 'mine')
  await expect(startGateway({ folder })).rejects.toThrow(/gateway\.sock in .* is not a socket: move it away/u)
  await writeFile(socketOf(folder), '')
  expect(await tryDial(folder)).toBeNull()
  await using _gateway = await startGateway({ folder })
  expect((await dial(folder)).welcome.role).toBe('owner')
})

test('a folder whose path is longer than a socket’s may be, and one with a colon in its name', async () => {
  await using temp = await tempFolder()
  for (const name of ['deep/'.repeat(30), 'a:b?c#d']) {
    const folder = temp.join(name)
    await mkdir(folder, { recursive: true })
    {
      await using _gateway = await startGateway({ folder })
      expect((await stat(socketOf(folder))).mode & 0o777).toBe(0o600)
      expect((await (await dial(folder)).peer.call('machines.list', {})).machines).toEqual([])
    }
    expect(await tryDial(folder)).toBeNull()
  }
})

test('without a port the socket is the only way in; an end tells its sessions and waits for no silent connection', async () => {
  await using temp = await tempFolder()
  const folder = temp.join('data')
  const log = openLog({ level: 'silent' })
  {
    await using gateway = await startGateway({ folder })
    await gateway.addTenant(TENANT)
  }
  const gateway = await Gateway.open({ folder, listen: null, log, clock: systemClock })
  expect(gateway.url).toBe(`unix:${socketOf(folder)}`)
  const { peer } = await dial(folder)
  const silent = connect(socketOf(folder))
  silent.on('error', () => {})
  await once(silent, 'connect')
  const gone = once(silent, 'close')
  const ended = gateway[Symbol.asyncDispose]()
  expect((await peer.closed).code).toBe('GOING_AWAY')
  await ended
  await gone
})

const ANSWERS: readonly (readonly [name: string, onSocket: (socket: Socket) => void])[] = [
  ['is cut at once', (socket) => socket.destroy()],
  ['is closed at once', (socket) => socket.end()],
  ['is closed with the request unread', (socket) => void setImmediate(() => socket.destroy())],
  ['is closed after the request', (socket) => socket.once('data', () => socket.end())],
  ['speaks no HTTP', (socket) => socket.once('data', () => socket.end('220 mail.example ESMTP\r\n'))],
  [
    'is cut in its refusal',
    (socket) => socket.once('data', () => socket.end('HTTP/1.1 503 X\r\nContent-Length: 100\r\n\r\n{"co')),
  ],
  [
    'refuses in nobody’s words',
    (socket) => socket.once('data', () => socket.end('HTTP/1.1 503 X\r\nContent-Length: 4\r\n\r\nnull')),
  ],
  [
    'is closed before its welcome',
    (socket) =>
      socket.once('data', (request: Buffer) => {
        const key = /sec-websocket-key: (\S+)/iu.exec(request.toString())![1]!
        const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64')
        socket.end(
          `HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\nSec-WebSocket-Protocol: varve.v1\r\n\r\n`,
        )
      }),
  ],
]

test.each(ANSWERS)('a connection that %s is an error to try again after', async (_, onSocket) => {
  await using temp = await tempFolder()
  const server = createServer((socket) => {
    socket.on('error', () => {})
    onSocket(socket)
  })
  server.listen(socketOf(temp.path))
  await once(server, 'listening')
  await expect(tryDial(temp.path)).rejects.toMatchObject({ name: 'VarveError', code: 'CONNECTION_LOST', retry: true })
  server.close()
})

test('a gateway that takes no further connection is an error to try again after', async () => {
  await using temp = await tempFolder()
  const folder = temp.join('data')
  await using _gateway = await startGateway({ folder })
  const dialled = await Promise.allSettled(Array.from({ length: 80 }, () => dial(folder)))
  const failed = dialled.filter((one) => one.status === 'rejected').map(({ reason }) => reason as unknown)
  expect(failed.length).toBeGreaterThan(0)
  for (const error of failed) expect(error).toMatchObject({ name: 'VarveError', code: 'CONNECTION_LOST', retry: true })
})

test('a socket that cannot be made is a reason not to start, and the folder is let go', async () => {
  await using temp = await tempFolder()
  const folder = temp.join('data')
  {
    await using _gateway = await startGateway({ folder })
  }
  await mkdir(socketOf(folder))
  await writeFile(path.join(socketOf(folder), 'in the way'), '')
  expect(await codeOf(startGateway({ folder }))).not.toBe('none')
  await rm(socketOf(folder), { recursive: true })
  await using _gateway = await startGateway({ folder })
  expect((await dial(folder)).welcome.role).toBe('owner')
})
