// The log of a whole session of a real gateway: secrets never get into it.
import { announced } from '../support/announced.ts'
import { expect, test } from 'vitest'
import { enrolHost } from '../../agent/enrol.ts'
import { Identity } from '../../agent/identity.ts'
import { dial } from '../../protocol/host/dial.ts'
import { systemClock } from '../../protocol/host/clock.ts'
import { openLocal } from '../../gateway/catalog/sqlite/database.ts'
import { VarveError } from '../../protocol/errors.ts'
import { tempFolder } from '../support/temp.ts'
import { codeOf } from './auth/test-authority.ts'
import { runGateway, ServingGateway } from './program.ts'

test('a gateway at its most talkative tells neither a token nor a key', async () => {
  await using temp = await tempFolder()
  const at = ['--data', temp.join('data')]
  await using gateway = await ServingGateway.start([...at, '--log-level', 'trace'])
  await runGateway(['tenant', 'add', 'acme', ...at])
  const printed = async (...args: string[]) => (await runGateway([...args, '--tenant', 'acme', ...at])).stdout.trim()
  const [owner, enrolment] = [await printed('token', 'issue', '--role', 'owner'), await printed('enrol')]
  const state = temp.join('state')
  await enrolHost({ gateway: gateway.url, ca: null, token: enrolment, state })
  const assertion = await (await Identity.load(state)).assertion(Date.now())
  const open = (token: string, serving = false) =>
    dial({ gateway: gateway.url, ca: null, token, program: 'test', serving, handlers: {}, clock: systemClock })
  const agent = await open(assertion, true)
  const bad = `${owner.slice(0, -6)}AAAAAA`
  expect(await codeOf(open(bad))).toBe('TOKEN_SIGNATURE')
  expect(await codeOf(enrolHost({ gateway: gateway.url, ca: null, token: enrolment, state, force: true }))).toBe(
    'ENROLMENT_USED',
  )
  await agent.peer.call('agent.inventory', { host: 'h', machines: [announced('db1')], jobs: [] })
  expect(await codeOf(agent.peer.call('session.renew', { token: bad }))).toBe('TOKEN_SIGNATURE')
  const person = await open(owner)
  const started = person.peer.call('backup.start', { machine: 'db1', full: false })
  expect(await codeOf(started)).toBe('METHOD_UNKNOWN')
  for (const { peer } of [agent, person]) peer.close(new VarveError('CANCELLED', 'done'))
  const { stderr } = await gateway.stop()
  expect(stderr).toContain('backup starts')
  using catalog = openLocal(temp.join('data', 'catalog.db'))
  const tenant = (await catalog.tenants.byName({ name: 'acme' }))!
  const key = Buffer.from(tenant.idKey)
  const secrets = [owner, enrolment, assertion, bad].flatMap((token) => [
    token,
    token.split('.')[2]!,
    token.split('.')[1]!,
  ])
  for (const secret of [...secrets, key.toString('hex'), key.toString('base64'), [...key.subarray(0, 8)].join(',')])
    expect(stderr).not.toContain(secret)
})
