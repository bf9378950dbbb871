// Enrolment against a real gateway, and against servers that are none.
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { hostname } from 'node:os'
import { expect, test } from 'vitest'
import { enrolHost } from '../../agent/enrol.ts'
import { Identity } from '../../agent/identity.ts'
import { startGateway } from '../support/gateway.ts'
import { tempFolder } from '../support/temp.ts'
import { codeOf, failureOf } from './restore/code-of.ts'

test('makes this host an agent of the tenant, once per token', async () => {
  await using temp = await tempFolder()
  await using gateway = await startGateway({ folder: temp.join('data') })
  const token = await gateway.enrolmentToken()
  const request = { gateway: gateway.url, ca: null, token, state: temp.join('state') }
  const record = await enrolHost(request)
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

test('a new enrolment replaces the old identity', async () => {
  await using temp = await tempFolder()
  await using gateway = await startGateway({ folder: temp.join('data') })
  const first = await gateway.enrolAgent(temp.join('state'))
  const second = await gateway.enrolAgent(temp.join('state'), 'globex')
  expect(second.record.agentId).not.toBe(first.record.agentId)
  expect((await Identity.load(temp.join('state'))).record.tenantName).toBe('globex')
})

test('passes on what the gateway has against a token', async () => {
  await using temp = await tempFolder()
  await using gateway = await startGateway({ folder: temp.join('data') })
  const request = { gateway: gateway.url, ca: null, state: temp.join('state') }
  expect(await codeOf(enrolHost({ ...request, token: 'rubbish' }))).toMatch(/^TOKEN_/u)
  expect(await codeOf(enrolHost({ ...request, token: await gateway.tokenFor('owner') }))).toMatch(/^TOKEN_/u)
  expect(existsSync(temp.join('state'))).toBe(false)
})

test('tells a server that is no gateway from one that is away', async () => {
  await using temp = await tempFolder()
  const answers: readonly [string, RequestListener][] = [
    ['HTTP 200, as no gateway does', (_request, response) => void response.end('<html>')],
    ['HTTP 404', (_request, response) => void response.writeHead(404).end('{}')],
    ['HTTP 500', (_request, response) => void response.writeHead(500).end('{"code":"NO_SUCH_CODE"}')],
    ['something else than an enrolment', (_request, response) => void response.end('{"agentId":5}')],
    ['too much', (_request, response) => void response.end('x'.repeat(1_000_000))],
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
