// A whole gateway: it opens on its folder alone, ends sessions that were revoked beside it, and closes in order.
import { expect, test } from 'vitest'
import { Gateway } from '../../gateway/gateway.ts'
import { systemClock } from '../../protocol/host/clock.ts'
import { openLog } from '../../protocol/host/log.ts'
import { startGateway } from '../support/gateway.ts'
import { eventually, tempFolder } from '../support/temp.ts'
import { codeOf, decodePart } from './auth/test-authority.ts'
import { BEGUN, fullDisk } from './catalog.ts'

const LISTEN = { host: '127.0.0.1', port: 0, tls: null }

test('a folder has one gateway, and the next one after its end has everything', async () => {
  await using temp = await tempFolder()
  const folder = temp.join('data')
  let token: string
  {
    await using gateway = await startGateway({ folder })
    token = await gateway.tokenFor('viewer')
    const log = openLog({ level: 'silent' })
    expect(await codeOf(Gateway.open({ folder, listen: LISTEN, log, clock: systemClock }))).toBe('STORE_LOCKED')
    await gateway.connectAs(token)
  }
  await using gateway = await startGateway({ folder })
  expect(await (await gateway.connectAs(token)).call('machines.list', {})).toEqual({ machines: [], next: null })
})

test('one that cannot listen lets go of its folder', async () => {
  await using temp = await tempFolder()
  const folder = temp.join('data')
  const log = openLog({ level: 'silent' })
  const refused = Gateway.open({ folder, listen: { ...LISTEN, host: '192.0.2.1' }, log, clock: systemClock })
  expect(await codeOf(refused)).toBe('CONFIG_INVALID')
  await using gateway = await startGateway({ folder })
  expect((await fetch(`${gateway.httpUrl}/healthz`)).status).toBe(200)
})

test('a token or an agent revoked beside the gateway loses its session, others keep theirs', async () => {
  await using temp = await tempFolder()
  await using gateway = await startGateway({ folder: temp.join('data') })
  const tenant = await gateway.addTenant('acme')
  const token = await gateway.tokenFor('viewer')
  const [gone, stays] = [await gateway.connectAs(token), await gateway.connectAs(await gateway.tokenFor('viewer'))]
  const identity = await gateway.enrolAgent(temp.join('state'))
  const agent = await gateway.connectAgent(identity, ['db1'])
  const revocation = { tenant: tenant.id, nowMs: Date.now() }
  await gateway.catalog.tokens.revoke({ ...revocation, id: String(decodePart(token, 1)['jti']) })
  await gateway.catalog.agents.revoke({ ...revocation, id: identity.record.agentId })
  expect((await gone.closed).code).toBe('TOKEN_REVOKED')
  expect((await agent.closed).code).toBe('AGENT_REVOKED')
  expect(await codeOf(gateway.connectAs(token))).toBe('TOKEN_REVOKED')
  expect(await codeOf(gateway.connectAs(await identity.assertion(Date.now())))).toBe('AGENT_REVOKED')
  expect((await stays.call('machines.list', {})).machines).toMatchObject([{ name: 'db1', online: false }])
})

test('an end while sessions call and upload is an end', async () => {
  await using temp = await tempFolder()
  const gateway = await startGateway({ folder: temp.join('data') })
  const identity = await gateway.enrolAgent(temp.join('state'))
  const jobs: string[] = []
  const agent = await gateway.connectAgent(identity, ['db1'], {
    'agent.backup': async ({ job }) => {
      jobs.push(job)
      return {}
    },
  })
  const owner = await gateway.connectAs(await gateway.tokenFor('owner'))
  await owner.call('backup.start', { machine: 'db1', full: false })
  await eventually(() => jobs.length === 1)
  const job = jobs[0]!
  await agent.call('backup.begin', { ...BEGUN, job, disks: [fullDisk('vda', 65_536)] })
  const upload = agent.open('image.upload', { job, disk: 'vda' })
  await upload.messages[Symbol.asyncIterator]().next()
  const watch = owner.open('jobs.watch', { job })
  await watch.messages[Symbol.asyncIterator]().next()
  await gateway[Symbol.asyncDispose]()
  expect(await codeOf(upload.result)).not.toBe('none')
  expect(await codeOf(watch.result)).not.toBe('none')
  await using again = await startGateway({ folder: temp.join('data') })
  const { machines } = await (await again.connectAs(await again.tokenFor('owner'))).call('machines.list', {})
  expect(machines).toMatchObject([{ name: 'db1', job, online: false }])
})
