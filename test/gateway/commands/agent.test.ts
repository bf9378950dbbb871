// The commands about agents where there are some: what they list, and that a revocation is one.
import { expect, test } from 'vitest'
import { VarveError } from '../../../protocol/errors.ts'
import { EXIT } from '../../../protocol/host/exit.ts'
import { startGateway, TENANT } from '../../support/gateway.ts'
import { eventually, tempFolder } from '../../support/temp.ts'
import { codeOf } from '../auth/test-authority.ts'
import { runGateway, type Ended } from '../program.ts'

test('an agent is listed, and revoked beside the running gateway it cannot come back', async () => {
  await using temp = await tempFolder()
  const data = temp.join('data')
  await using gateway = await startGateway({ folder: data })
  const identity = await gateway.enrolAgent(temp.join('state'))
  const id = identity.record.agentId
  const run = (...args: string[]): Promise<Ended> => runGateway([...args, '--tenant', TENANT, '--data', data])
  const listed = await run('agent', 'list', '--json')
  expect(JSON.parse(listed.stdout)).toMatchObject({
    agents: [{ id, revoked: null, revokedMs: null, enrolled: expect.any(String) as string, seen: null, online: false }],
  })
  expect(await run('agent', 'revoke', id)).toMatchObject({ code: EXIT.ok, stdout: `Agent ${id} is revoked.\n` })
  expect(JSON.parse((await run('agent', 'list', '--json')).stdout)).toMatchObject({
    agents: [{ id, revoked: expect.any(String) as string }],
  })
  expect(await codeOf(gateway.connectAs(await identity.assertion(Date.now())))).toBe('AGENT_REVOKED')
  const tenants = await runGateway(['tenant', 'list', '--data', data])
  expect(tenants.stdout).toMatch(/^NAME +CHUNK .*\nacme +64 KiB +\d/u)
})

test('an agent is never seen, connected, or was seen when its connection ended', async () => {
  await using temp = await tempFolder()
  const data = temp.join('data')
  await using gateway = await startGateway({ folder: data })
  const list = async (): Promise<string> => {
    const { code, stdout } = await runGateway(['agent', 'list', '--tenant', TENANT, '--data', data])
    expect(code).toBe(EXIT.ok)
    return stdout
  }
  expect(await list()).toContain('There is no agent yet')
  const identity = await gateway.enrolAgent(temp.join('state'))
  expect(await list()).toMatch(/ never +-$/mu)
  const peer = await gateway.connectAgent(identity, ['db1'])
  expect(await list()).toMatch(/ connected +-$/mu)
  const { id: tenant } = (await gateway.catalog.tenants.byName({ name: TENANT }))!
  const seenMs = async (): Promise<number | null> =>
    (await gateway.catalog.agents.list({ tenant, after: null, limit: 10 })).map((agent) => agent.seenMs)[0] ?? null
  const beganMs = (await seenMs())!
  await eventually(() => Date.now() > beganMs + 1000)
  peer.close(new VarveError('CANCELLED', 'away'))
  // the end is what counts, not the beginning
  await eventually(async () => ((await seenMs()) ?? 0) > beganMs)
  expect(await list()).toMatch(/ \d{4}-\d\d-\d\d \d\d:\d\d:\d\d +-$/mu)
})

test('ids are taken in either case', async () => {
  await using temp = await tempFolder()
  const data = temp.join('data')
  await using gateway = await startGateway({ folder: data })
  const { record } = await gateway.enrolAgent(temp.join('state'))
  const at = ['--tenant', TENANT, '--data', data]
  const revoked = await runGateway(['agent', 'revoke', record.agentId.toUpperCase(), ...at])
  expect(revoked).toMatchObject({ code: EXIT.ok, stdout: `Agent ${record.agentId} is revoked.\n` })
})
