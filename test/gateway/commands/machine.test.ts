// The commands about machines on a catalog with some: who serves them, their group, and what the audit log has of it.
import { expect, test } from 'vitest'
import { openLocal } from '../../../gateway/catalog/sqlite/database.ts'
import { EXIT } from '../../../protocol/host/exit.ts'
import { startGateway, TENANT } from '../../support/gateway.ts'
import { tempFolder } from '../../support/temp.ts'
import { addAgent, addMachine, addPoint } from '../catalog.ts'
import { runGateway, type Ended } from '../program.ts'

test('a machine is listed with its group and newest point, its group changes as asked, and another agent takes it over', async () => {
  await using temp = await tempFolder()
  const data = temp.join('data')
  {
    await using _gateway = await startGateway({ folder: data })
  }
  using catalog = openLocal(temp.join('data', 'catalog.db'))
  const tenant = (await catalog.tenants.byName({ name: TENANT }))!
  const [first, second] = [await addAgent(catalog, tenant, 'host1'), await addAgent(catalog, tenant, 'host2')]
  const machine = await addMachine(catalog, tenant, first, 'db1')
  await addPoint(catalog, tenant, machine, { timeMs: 20 })
  const run = (...args: string[]): Promise<Ended> => runGateway([...args, '--tenant', TENANT, '--data', data])

  const joined = await run('machine', 'group', 'db1', 'web', '--json')
  const answer = { machine: 'db1', group: 'web', plan: null, newGroup: true }
  expect([joined.code, JSON.parse(joined.stdout)]).toEqual([EXIT.ok, answer])
  const listed = await run('machine', 'list')
  expect(listed.stdout.split('\n').map((line) => line.split(/ {2,}/u))).toMatchObject([
    ['MACHINE', 'AGENT', 'HOST', 'SITE', 'GROUP', 'PLAN', 'LAST POINT (UTC)', 'UUID'],
    ['db1', first, 'host1', '-', 'web', '-', '1970-01-01 00:00:00', '-'],
    [''],
  ])
  const bad = await run('machine', 'group', 'db1', 'two words')
  expect([bad.code, bad.stderr]).toEqual([EXIT.usage, expect.stringContaining('letters')])
  const assign = (agent: string): ReturnType<typeof run> => run('machine', 'assign', 'db1', '--agent', agent, '--json')
  expect(JSON.parse((await assign(second.toUpperCase())).stdout)).toEqual({
    machine: 'db1',
    agent: second,
    changed: true,
  })
  expect(JSON.parse((await assign(second)).stdout)).toMatchObject({ changed: false })
  expect((await run('machine', 'assign', 'db1', '--agent', second)).stdout).toContain('nothing was changed')
  expect(JSON.parse((await run('machine', 'list', '--json')).stdout)).toMatchObject({
    machines: [{ agent: second, group: 'web', lastPoint: { time: '1970-01-01T00:00:00.020Z', timeMs: 20 } }],
  })
  const log = await run('audit', 'list', '--json')
  const { entries } = JSON.parse(log.stdout) as { entries: { subject: string; action: string; resource: string }[] }
  const local = entries.filter(({ subject }) => subject === 'local-administrator')
  expect(local.map(({ action, resource }) => `${action} ${resource}`)).toEqual([
    'machines.setGroup machine=db1',
    `machines.assign machine=db1 agent=${second}`,
    `machines.assign machine=db1 agent=${second}`,
    `machines.assign machine=db1 agent=${second}`,
  ])
})
