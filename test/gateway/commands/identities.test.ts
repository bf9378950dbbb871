// The commands about tenants and agents where there are some: what they list, and that a revocation is one.
import { expect, test } from 'vitest'
import { EXIT } from '../../../protocol/exit.ts'
import { startGateway, TENANT } from '../../support/gateway.ts'
import { tempFolder } from '../../support/temp.ts'
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
  expect(tenants.stdout).toMatch(/^NAME +CHUNK +CREATED\nacme +64 KiB +\d/u)
})
