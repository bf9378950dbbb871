// The one port: health, keys, enrolment, TLS, what is not there, and an end that tells every session and waits for nobody.
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { get } from 'node:https'
import { connect, type Socket } from 'node:net'
import { expect, test } from 'vitest'
import { NewIdentity } from '../../../agent/identity.ts'
import { dial } from '../../../protocol/host/dial.ts'
import { systemClock } from '../../../protocol/host/clock.ts'
import { decodePart } from '../auth/test-authority.ts'
import { startGateway } from '../../support/gateway.ts'
import { tempFolder } from '../../support/temp.ts'

const answerOf = async (answer: Promise<Response>): Promise<{ status: number; body: Record<string, unknown> }> => {
  const response = await answer
  return { status: response.status, body: (await response.json()) as Record<string, unknown> }
}

const closed = (socket: Socket): Promise<void> =>
  new Promise((resolve) => {
    socket.on('error', () => {})
    socket.once('close', () => resolve())
  })

test('health tells that it is well and nothing of anybody, and the public keys hold no private one', async () => {
  await using temp = await tempFolder()
  await using gateway = await startGateway({ folder: temp.join('data') })
  await gateway.connectAs(await gateway.tokenFor('viewer'))
  expect(await answerOf(fetch(`${gateway.httpUrl}/healthz`))).toEqual({ status: 200, body: { status: 'ok' } })
  const { body } = await answerOf(fetch(`${gateway.httpUrl}/.well-known/jwks.json`))
  const keys = body['keys'] as Record<string, string>[]
  const { kid } = decodePart(await gateway.tokenFor('viewer'), 0)
  expect(keys.map((key) => key['kid'])).toContain(kid)
  for (const key of keys) expect(key).not.toHaveProperty('d')
})

test('what is not there is not found, for every method and any target', async () => {
  await using temp = await tempFolder()
  await using gateway = await startGateway({ folder: temp.join('data') })
  for (const [path, method] of [
    ['/', 'POST'],
    ['/console', 'GET'],
    ['/console/', 'GET'],
    ['/console/../main.tsx', 'GET'],
    ['/console/%2e%2e/page.html', 'GET'],
    ['/healthz', 'POST'],
    ['/enrol', 'GET'],
    ['/rpc', 'GET'],
    ['/healthz/', 'GET'],
  ] as const)
    expect(await answerOf(fetch(gateway.httpUrl + path, { method }))).toMatchObject({
      status: 404,
      body: { code: 'NOT_FOUND' },
    })
  const raw = connect(gateway.port, '127.0.0.1')
  raw.write('GET // HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
  const [answer] = (await once(raw, 'data')) as [Buffer]
  expect(answer.toString()).toContain('404')
})

test('a host enrols with a token once', async () => {
  await using temp = await tempFolder()
  await using gateway = await startGateway({ folder: temp.join('data') })
  const token = await gateway.enrolmentToken()
  const { publicKey } = await NewIdentity.generate()
  const post = (body: unknown) =>
    answerOf(
      fetch(`${gateway.httpUrl}/enrol`, {
        method: 'POST',
        body: typeof body === 'string' ? body : JSON.stringify(body),
      }),
    )
  const request = { token, publicKey, host: 'host1' }
  expect(await post({ ...request, publicKey: 'short' })).toMatchObject({
    status: 400,
    body: { code: 'PARAMS_INVALID' },
  })
  expect(await post({ ...request, host: '' })).toMatchObject({ status: 400, body: { code: 'PARAMS_INVALID' } })
  expect(await post({ token })).toMatchObject({ status: 400, body: { code: 'PARAMS_INVALID' } })
  expect(await post('{"token":')).toMatchObject({ status: 400, body: { code: 'PARAMS_INVALID' } })
  expect(await post({ ...request, token: 'a.b.c' })).toMatchObject({ status: 401, body: { code: 'TOKEN_MALFORMED' } })
  const person = await gateway.tokenFor('owner')
  expect(await post({ ...request, token: person })).toMatchObject({ status: 401, body: { code: 'TOKEN_CLAIMS' } })
  expect(await post(request)).toMatchObject({
    status: 200,
    body: { tenantName: 'acme', agentId: expect.any(String) as string },
  })
  expect(await post(request)).toMatchObject({ status: 409, body: { code: 'ENROLMENT_USED' } })
  const audit = await (await gateway.connectAs(person)).call('audit.list', { limit: 100 })
  const outcomes = audit.entries.filter(({ action }) => action === 'agents.enrol').map(({ outcome }) => outcome)
  expect(outcomes).toEqual(['ok', 'ENROLMENT_USED'])
})

test('a body that is too large is answered, and one that breaks off hurts nobody', async () => {
  await using temp = await tempFolder()
  await using gateway = await startGateway({ folder: temp.join('data') })
  const large = fetch(`${gateway.httpUrl}/enrol`, { method: 'POST', body: 'x'.repeat(17 * 1024) })
  expect(await answerOf(large)).toMatchObject({ status: 413, body: { code: 'FRAME_TOO_LARGE' } })
  // answered before all of it is there
  const slow = connect(gateway.port, '127.0.0.1')
  slow.write(`POST /enrol HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n${'x'.repeat(17 * 1024)}`)
  const [answer] = (await once(slow, 'data')) as [Buffer]
  expect(answer.toString()).toContain('413')
  slow.destroy()
  const raw = connect(gateway.port, '127.0.0.1')
  await once(raw, 'connect')
  raw.write('POST /enrol HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"tok')
  raw.destroy()
  expect((await fetch(`${gateway.httpUrl}/healthz`)).status).toBe(200)
})

test('over TLS only who trusts the certificate connects', async () => {
  await using temp = await tempFolder()
  const [key, cert] = [temp.join('key.pem'), temp.join('cert.pem')]
  const subject = ['-subj', '/CN=gateway', '-addext', 'subjectAltName=IP:127.0.0.1']
  const args = ['req', '-x509', '-newkey', 'ed25519', '-nodes', '-keyout', key, '-out', cert, '-days', '2', ...subject]
  execFileSync('openssl', args, { stdio: 'ignore' })
  const tls = { key: readFileSync(key), cert: readFileSync(cert) }
  const gateway = await startGateway({ folder: temp.join('data'), tls })
  expect(gateway.url).toMatch(/^wss:/u)
  const statusOf = (ca?: Buffer) =>
    new Promise<string>((resolve) => {
      get(`${gateway.httpUrl}/healthz`, ca === undefined ? {} : { ca }, (response) => {
        response.resume()
        resolve(String(response.statusCode))
      }).on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? ''))
    })
  expect(await statusOf(tls.cert)).toBe('200')
  expect(await statusOf()).toBe('DEPTH_ZERO_SELF_SIGNED_CERT')
  const identity = await gateway.enrolAgent(temp.join('state'))
  const agent = await gateway.connectAgent(identity, ['db1'])
  expect((await agent.call('machines.list', {})).machines).toMatchObject([{ name: 'db1', online: true }])
  await expect(fetch(`${gateway.httpUrl.replace('https', 'http')}/healthz`)).rejects.toThrow()
  // one that never begins TLS does not hold up the end
  const silent = connect(gateway.port, '127.0.0.1')
  await once(silent, 'connect')
  const gone = closed(silent)
  await gateway[Symbol.asyncDispose]()
  await gone
})

test('an end tells every session, refuses what comes late and waits for no silent connection', async () => {
  await using temp = await tempFolder()
  const gateway = await startGateway({ folder: temp.join('data') })
  const token = await gateway.tokenFor('viewer')
  const caller = { ca: null, token, program: 'test', serving: false, handlers: {}, clock: systemClock }
  const { peer } = await dial({ ...caller, gateway: gateway.url })
  const silent = connect(gateway.port, '127.0.0.1')
  await once(silent, 'connect')
  const half = connect(gateway.port, '127.0.0.1')
  await once(half, 'connect')
  half.write('POST /enrol HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{')
  const gone = Promise.all([closed(silent), closed(half)])
  silent.on('error', () => {})
  half.on('error', () => {})
  const ended = gateway[Symbol.asyncDispose]()
  expect((await peer.closed).code).toBe('GOING_AWAY')
  await ended
  await gone
  await expect(fetch(`${gateway.httpUrl}/healthz`)).rejects.toThrow()
})

test('a port that is taken is refused with its address', async () => {
  await using temp = await tempFolder()
  await using gateway = await startGateway({ folder: temp.join('a') })
  const second = startGateway({ folder: temp.join('b'), port: gateway.port })
  await expect(second).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
    message: expect.stringContaining(`127.0.0.1:${gateway.port}`) as string,
  })
})
