// Enrolment against a real gateway, and against servers that are none.
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { chmod, readdir, readFile, writeFile } from 'node:fs/promises'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { hostname } from 'node:os'
import { expect, test } from 'vitest'
import { enrolHost, whatFollows } from '../../agent/enrol.ts'
import { Identity } from '../../agent/identity.ts'
import { lockState } from '../../agent/state-lock.ts'
import { startGateway } from '../support/gateway.ts'
import { tempFolder } from '../support/temp.ts'
import { codeOf, failureOf } from './restore/code-of.ts'
import { tinyFileSystem } from './restore/devices.ts'

test('makes this host an agent of the tenant, once per token', async () => {
  await using temp = await tempFolder()
  await using gateway = await startGateway({ folder: temp.join('data') })
  const token = await gateway.enrolmentToken()
  const request = { gateway: gateway.url, ca: null, token, state: temp.join('state') }
  const { record, former } = await enrolHost(request)
  expect(former).toBeNull()
  expect(record).toMatchObject({ gateway: gateway.url, tenantName: 'acme' })
  const identity = await Identity.load(temp.join('state'))
  expect(identity.record).toEqual(record)
  const peer = await gateway.connectAgent(identity, ['db1'])
  expect((await peer.call('machines.list', {})).machines).toMatchObject([
    { name: 'db1', host: hostname(), online: true },
  ])
  expect(await codeOf(enrolHost({ ...request, state: temp.join('second') }))).toBe('ENROLMENT_USED')
  expect(existsSync(temp.join('second'))).toBe(false)
  // the first identity is untouched
  expect((await Identity.load(temp.join('state'))).record).toEqual(record)
})

test('a host that is an agent stays it, and its token is not spent, unless told to become another', async () => {
  await using temp = await tempFolder()
  await using gateway = await startGateway({ folder: temp.join('data') })
  const state = temp.join('state')
  const first = await gateway.enrolAgent(state)
  const token = await gateway.enrolmentToken('globex')
  const request = { gateway: gateway.url, ca: null, token, state }
  const refused = await failureOf(enrolHost(request))
  expect(refused?.code).toBe('EXISTS')
  expect(refused?.message).toMatch(new RegExp(`${first.record.agentId} of tenant acme.*--force.*machine assign`, 'u'))
  expect((await Identity.load(state)).record).toEqual(first.record)

  // while it runs, whatever is said
  await using running = await lockState(state)
  expect(await failureOf(enrolHost({ ...request, force: true }))).toMatchObject({
    code: 'STATE_LOCKED',
    message: expect.stringContaining('stop it first'),
  })
  await running[Symbol.asyncDispose]()

  const { record, former } = await enrolHost({ ...request, force: true })
  expect(former).toEqual(first.record)
  expect((await Identity.load(state)).record).toEqual(record)
  expect(record.tenantName).toBe('globex')
  // the old one is whole, and good at the gateway
  const kept = `${state}/former/${first.record.agentId}`
  const old = await Identity.load(kept)
  expect(old.record).toEqual(first.record)
  await gateway.connectAgent(old, ['db1'])
  const told = whatFollows({ record, former }, { gateway: gateway.url, state, machines: [{ name: 'db1' }] }).join('\n')
  expect(told).toContain(kept)
  expect(told).toContain('Another tenant')
})

test('says who has to assign which machines, and where the configuration leads elsewhere', async () => {
  const former = {
    agentId: 'a1',
    issuer: 'varve:x',
    gateway: 'ws://127.0.0.1:1',
    tenant: 't',
    tenantName: 'acme',
  }
  const record = { ...former, agentId: 'a2' }
  const config = { gateway: 'ws://127.0.0.1:2', state: '/s', machines: [{ name: 'db1' }, { name: 'web1' }] }
  const told = whatFollows({ record, former }, config)
  expect(told[0]).toContain('gateway = "ws://127.0.0.1:2"')
  expect(told).toContain('  varve-gateway machine assign db1 --agent a2 --tenant acme')
  expect(told).toContain('  varve-gateway machine assign web1 --agent a2 --tenant acme')
  expect(whatFollows({ record, former: null }, { ...config, gateway: 'ws://127.0.0.1:1/' })).toEqual([])
})

test('a damaged identity gives way, and its key is kept', async () => {
  await using temp = await tempFolder()
  await using gateway = await startGateway({ folder: temp.join('data') })
  const state = temp.join('state')
  const first = await gateway.enrolAgent(state)
  const file = temp.join('state', 'identity.json')
  const key = `agent-${first.record.agentId}.key`
  const secret = await readFile(temp.join('state', key), 'utf8')
  await writeFile(file, (await readFile(file, 'utf8')).slice(0, 20))
  const second = await gateway.enrolAgent(state)
  expect(second.record.agentId).not.toBe(first.record.agentId)
  expect(await readFile(temp.join('state', 'former', first.record.agentId, key), 'utf8')).toBe(secret)
  // one that only its rights make unusable is good still
  await chmod(file, 0o644)
  expect(await codeOf(gateway.enrolAgent(state))).toBe('CONFIG_INVALID')
})

test('a state folder that takes no key costs no token', async (context) => {
  await using temp = await tempFolder()
  await using small = await tinyFileSystem(temp.join('small'), 64 * 1024)
  // a host that lets nobody mount has nothing to test here
  if (small === null) {
    context.skip('this process may not mount a file system')
    return
  }
  await using gateway = await startGateway({ folder: temp.join('data') })
  const token = await gateway.enrolmentToken()
  await writeFile(`${small.path}/fill`, Buffer.alloc(1024 * 1024)).catch(() => undefined)
  const request = { gateway: gateway.url, ca: null, token }
  expect(await codeOf(enrolHost({ ...request, state: small.path }))).toBe('CONFIG_INVALID')
  expect(await readdir(small.path)).toEqual(['fill'])
  expect(await codeOf(enrolHost({ ...request, state: temp.join('state') }))).toBe('none')
})

test('passes on what the gateway has against a token', async () => {
  await using temp = await tempFolder()
  await using gateway = await startGateway({ folder: temp.join('data') })
  const request = { gateway: gateway.url, ca: null, state: temp.join('state') }
  expect(await codeOf(enrolHost({ ...request, token: 'rubbish' }))).toMatch(/^TOKEN_/u)
  expect(await codeOf(enrolHost({ ...request, token: await gateway.tokenFor('owner') }))).toMatch(/^TOKEN_/u)
  expect(existsSync(temp.join('state'))).toBe(false)
})

test('a refusal that this program does not know, and a fault of the gateway, are the gateway’s in its words', async () => {
  await using temp = await tempFolder()
  for (const code of ['MOON_PHASE', 'INTERNAL', 'toString']) {
    const server = createServer((_, response) =>
      response.writeHead(500).end(JSON.stringify({ code, message: 'not today' })),
    )
    await once(server.listen(0, '127.0.0.1'), 'listening')
    const gateway = `ws://127.0.0.1:${(server.address() as AddressInfo).port}`
    const failed = await failureOf(enrolHost({ gateway, ca: null, token: 't', state: temp.join('state') }))
    expect(failed).toMatchObject({
      code: 'PEER_FAILED',
      message: `the other side failed (${code}): not today`,
      details: { code },
    })
    server.close()
    server.closeAllConnections()
  }
})

test('tells a server that is no gateway from one that is away', async () => {
  await using temp = await tempFolder()
  const answers: readonly [string, RequestListener][] = [
    ['HTTP 200, which no gateway does', (_request, response) => void response.end('<html>')],
    ['HTTP 404', (_request, response) => void response.writeHead(404).end('{}')],
    ['HTTP 500', (_request, response) => void response.writeHead(500).end('{"code":"NO_SUCH_CODE"}')],
    ['is not an enrolment', (_request, response) => void response.end('{"agentId":5}')],
    ['is too long', (_request, response) => void response.end('x'.repeat(1_000_000))],
    ['cannot reach', (request) => void request.socket.destroy()],
  ]
  for (const [words, answer] of answers) {
    const server = createServer(answer)
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const gateway = `ws://127.0.0.1:${(server.address() as AddressInfo).port}`
    const error = await failureOf(enrolHost({ gateway, ca: null, token: 'x', state: temp.join('state') }))
    server.closeAllConnections()
    server.close()
    await once(server, 'close')
    expect(error?.code).toBe('CONNECTION_LOST')
    expect(error?.message).toContain(words)
    expect(await codeOf(enrolHost({ gateway, ca: null, token: 'x', state: temp.join('state') }))).toBe(
      'CONNECTION_LOST',
    )
  }
  expect(existsSync(temp.join('state'))).toBe(false)
})
