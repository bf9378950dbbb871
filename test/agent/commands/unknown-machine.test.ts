// Why the gateway does not know a machine as this agent's, with the way out for each reason.
import { mkdir } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { whyAway, whyUnknown } from '../../../agent/commands/unknown-machine.ts'
import { parseConfig } from '../../../agent/config.ts'
import { noteRefusals } from '../../../agent/refusals.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { lockState } from '../../../agent/state-lock.ts'
import { tempFolder } from '../../support/temp.ts'

const record = {
  agentId: 'a2',
  issuer: 'varve:x',
  gateway: 'ws://127.0.0.1:1',
  tenant: 't',
  tenantName: 'acme',
}

test('not configured, not running, just started, after another enrolment, refused', async () => {
  await using temp = await tempFolder()
  const machine = '[[machine]]\nname = "db1"\nqmp = "/q"\n'
  const config = parseConfig('f', `gateway = "ws://127.0.0.1:1"\nstate = "${temp.path}"\n${machine}`)
  const why = (name: string): ReturnType<typeof whyUnknown> => whyUnknown(name, { config, record })
  const assign = 'varve-gateway machine assign db1 --agent a2 --tenant acme'

  expect(await why('web1')).toMatchObject({ code: 'NOT_FOUND', message: expect.stringContaining('this host has: db1') })
  const still = await why('db1')
  expect(still).toMatchObject({
    code: 'AGENT_OFFLINE',
    message: expect.stringContaining('is not running on this host'),
  })
  expect(still.message).not.toContain('assign')
  {
    await using _running = await lockState(temp.path)
    expect((await why('db1')).message).toContain('or send SIGHUP')
  }
  await mkdir(temp.join('former', '0192aaaa-0000-7000-8000-0000c0ffee42'), { recursive: true })
  expect((await why('db1')).message).toContain(assign)
  await noteRefusals(temp.path, 'a2', [
    { machine: 'db1', code: 'EXISTS', message: 'it belongs to the agent of host h' },
  ])
  expect(await why('db1')).toMatchObject({
    code: 'EXISTS',
    message: expect.stringContaining(`it belongs to the agent of host h: "${assign}"`),
  })
  await noteRefusals(temp.path, 'a2', [{ machine: 'db1', code: 'TOO_MANY_REQUESTS', message: 'at most 5' }])
  expect(await why('db1')).toMatchObject({ code: 'TOO_MANY_REQUESTS', message: 'refused by the gateway: at most 5' })
})

test('an agent that runs here without its gateway is not said to be stopped', async () => {
  await using temp = await tempFolder()
  const config = parseConfig('f', `gateway = "ws://127.0.0.1:1"\nstate = "${temp.path}"\n`)
  const offline = new VarveError('AGENT_OFFLINE', 'it is not connected; is "varve-agent run" running?')
  expect(await whyAway('db1', offline, { config, record })).toBe(offline)
  await using _running = await lockState(temp.path)
  const known = await whyAway('db1', offline, { config, record })
  expect(known).toMatchObject({
    code: 'AGENT_OFFLINE',
    message: expect.stringContaining('is running on this host, but'),
  })
})
