// The paths for monitoring: who may read what, on the port and on a listener of its own.
import { once } from 'node:events'
import { rename } from 'node:fs/promises'
import { get, type IncomingMessage } from 'node:http'
import { connect } from 'node:net'
import { expect, test } from 'vitest'
import { OPENMETRICS, PLAIN } from '../../../protocol/host/metrics-format.ts'
import type { Readiness } from '../../../gateway/metrics/health.ts'
import { Monitoring, MonitoringServer } from '../../../gateway/server/monitoring.ts'
import { startGateway } from '../../support/gateway.ts'
import { eventually, tempFolder } from '../../support/temp.ts'

const TOKEN = 'a-token-of-the-metrics'
const bearer = (token: string) => ({ headers: { authorization: `Bearer ${token}` } })

test('without a token the port has no metrics, and looks like one that never had any', async () => {
  await using temp = await tempFolder()
  await using gateway = await startGateway({ folder: temp.join('data') })
  const answer = await fetch(`${gateway.httpUrl}/metrics`, bearer(TOKEN))
  expect([answer.status, await answer.json()]).toEqual([
    404,
    { code: 'NOT_FOUND', message: 'there is no GET /metrics here' },
  ])
})

test('with a token the port gives the metrics to whoever has it, in the format that is asked for', async () => {
  await using temp = await tempFolder()
  await using gateway = await startGateway({ folder: temp.join('data'), metricsToken: TOKEN })
  const url = `${gateway.httpUrl}/metrics`
  const refused = async (init: RequestInit): Promise<unknown[]> => {
    const answer = await fetch(url, init)
    const { code } = (await answer.json()) as { code: string }
    return [answer.status, code]
  }
  expect(await refused({})).toEqual([401, 'TOKEN_MISSING'])
  expect(await refused({ headers: { authorization: `Basic ${TOKEN}` } })).toEqual([401, 'TOKEN_MISSING'])
  for (const token of ['x', `${TOKEN}x`, TOKEN.toUpperCase(), await gateway.tokenFor('platform')])
    expect(await refused(bearer(token))).toEqual([401, 'TOKEN_SIGNATURE'])
  expect(await refused({ ...bearer(TOKEN), method: 'POST' })).toEqual([404, 'NOT_FOUND'])
  const plain = await fetch(url, bearer(TOKEN))
  expect([plain.status, plain.headers.get('content-type')]).toEqual([200, PLAIN])
  expect(await plain.text()).toMatch(/^varve_build_info\{version="\d+\.\d+\.\d+"\} 1$/mu)
  const { headers } = bearer(TOKEN)
  const open = await fetch(url, { headers: { ...headers, accept: 'application/openmetrics-text' } })
  expect(open.headers.get('content-type')).toBe(OPENMETRICS)
  expect(await open.text()).toMatch(/\n# EOF\n$/u)
})

test('the own listener gives the metrics to everybody of this machine, and nothing else', async () => {
  await using temp = await tempFolder()
  await using gateway = await startGateway({ folder: temp.join('data'), metricsListen: { host: '127.0.0.1', port: 0 } })
  const metricsUrl = gateway.metricsUrl!
  expect((await fetch(`${metricsUrl}/metrics`)).status).toBe(200)
  expect(await (await fetch(`${metricsUrl}/healthz`)).json()).toEqual({ status: 'ok' })
  expect(await (await fetch(`${metricsUrl}/readyz`)).json()).toMatchObject({
    status: 'ready',
    checks: { lock: { ok: true } },
  })
  for (const [path, method] of [
    ['/', 'GET'],
    ['/metrics', 'POST'],
    ['/enrol', 'POST'],
    ['/.well-known/jwks.json', 'GET'],
  ] as const)
    expect((await fetch(metricsUrl + path, { method })).status).toBe(404)
  // the port itself stays without
  expect((await fetch(`${gateway.httpUrl}/metrics`)).status).toBe(404)
})

test('the own listener answers no page of a browser, and keeps no place for who does nothing', async () => {
  const readiness = { look: async () => ({ ready: true, checks: {} }) } as unknown as Readiness
  const monitoring = new Monitoring({ metrics: null, readiness, token: null })
  await using server = await MonitoringServer.listen(monitoring, { host: '127.0.0.1', port: 0 }, 200)
  const statusFor = async (host: string): Promise<number | undefined> => {
    const asked = get(`${server.url}/readyz`, { headers: { host } })
    const [answer] = (await once(asked, 'response')) as [IncomingMessage]
    answer.resume()
    return answer.statusCode
  }
  expect([await statusFor('evil.example'), await statusFor('localhost:1')]).toEqual([421, 200])
  const idle = connect({ host: '127.0.0.1', port: Number(new URL(server.url).port) })
  idle.on('error', () => {})
  await once(idle, 'close')
})

test('a port that is taken is refused, and leaves nothing open', async () => {
  await using temp = await tempFolder()
  await using first = await startGateway({ folder: temp.join('a') })
  const taken = { host: '127.0.0.1', port: first.port }
  const second = startGateway({ folder: temp.join('b'), metricsListen: taken })
  await expect(second).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
  await using again = await startGateway({ folder: temp.join('b') })
  expect(again.port).toBeGreaterThan(0)
})

test('readiness is told to everybody, its details to this machine and to who has the token', async () => {
  await using temp = await tempFolder()
  const folder = temp.join('data')
  await using gateway = await startGateway({ folder, metricsToken: TOKEN })
  const url = `${gateway.httpUrl}/readyz`
  const look = async (headers: Record<string, string> = {}) => {
    const answer = await fetch(url, { headers })
    return { status: answer.status, body: (await answer.json()) as Record<string, unknown> }
  }
  expect(await look()).toMatchObject({ status: 200, body: { status: 'ready', checks: { packs: { ok: true } } } })
  // what a proxy on this machine passes on comes from anywhere
  const proxied = { 'x-forwarded-for': '203.0.113.9' }
  expect(await look(proxied)).toEqual({ status: 200, body: { status: 'ready' } })
  expect((await look({ ...proxied, ...bearer(TOKEN).headers })).body).toHaveProperty('checks')
  expect((await look({ ...proxied, ...bearer('x').headers })).body).not.toHaveProperty('checks')
  await rename(temp.join('data', 'packs'), temp.join('away'))
  await eventually(async () => (await look(proxied)).status === 503)
  expect(await look(proxied)).toEqual({ status: 503, body: { status: 'not ready' } })
  expect((await look()).body).toMatchObject({
    status: 'not ready',
    checks: { packs: { ok: false }, catalog: { ok: true } },
  })
  // it lives all the same
  expect(await (await fetch(`${gateway.httpUrl}/healthz`)).json()).toEqual({ status: 'ok' })
  await rename(temp.join('away'), temp.join('data', 'packs'))
  await eventually(async () => (await look()).status === 200)
})
