// The commands about machines on a catalog with some: who serves them, their policy and group, and what the audit log has of it.
import { expect, test } from 'vitest'
import { openLocal } from '../../../gateway/catalog/sqlite/database.ts'
import { EXIT } from '../../../protocol/host/exit.ts'
import { startGateway, TENANT } from '../../support/gateway.ts'
import { tempFolder } from '../../support/temp.ts'
import { addAgent, addMachine, addPoint } from '../catalog.ts'
import { runGateway, type Ended } from '../program.ts'

test('a machine is listed with its group and newest point, its policy changes as asked, and another agent takes it over', async () => {
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

  const policy = await run(
    'policy',
    'db1',
    '--group',
    'web',
    '--consistency',
    'none',
    '--refuse-full',
    'first',
    '--refuse-left-out',
    'unplugged,no-size',
    '--compare-every',
    '30d',
    '--json',
  )
  const wanted: object = {
    consistency: 'none',
    refuseFull: ['first'],
    refuseLeftOut: ['unplugged', 'no-size'],
    compareDays: 30,
  }
  const answer = { machine: 'db1', policy: wanted, group: 'web', newGroup: true }
  expect([policy.code, JSON.parse(policy.stdout)]).toEqual([EXIT.ok, answer])
  // to look changes nothing
  expect((await run('policy', 'db1')).stdout.split('\n')).toEqual([
    'db1: consistency none; group: web',
    '  full reads refused for: first',
    '  disks that are left out refused for: unplugged, no-size',
    '  compared whole: every 30 days',
    '',
  ])
  const listed = await run('machine', 'list')
  expect(listed.stdout.split('\n').map((line) => line.split(/ {2,}/u))).toMatchObject([
    ['MACHINE', 'AGENT', 'HOST', 'SITE', 'GROUP', 'LAST POINT (UTC)', 'UUID'],
    ['db1', first, 'host1', '-', 'web', '1970-01-01 00:00:00', '-'],
    [''],
  ])
  const bad = await run('policy', 'db1', '--group', 'two words')
  expect([bad.code, bad.stderr]).toEqual([EXIT.usage, expect.stringContaining('letters')])
  for (const [option, value, why] of [
    ['--refuse-left-out', 'because', 'because'],
    ['--refuse-full', 'bitmap', '"bitmap" is none of'],
    ['--compare-every', '0d', 'neither "never" nor 1d to 3650d'],
    ['--compare-every', '3651', 'neither'],
    ['--compare-every', '2w', 'neither'],
  ] as const) {
    const refused = await run('policy', 'db1', option, value)
    expect([refused.code, refused.stderr]).toEqual([EXIT.usage, expect.stringContaining(why)])
  }
  const often = Array.from({ length: 20 }, () => 'unplugged, excluded').join(',')
  const again = await run('policy', 'db1', '--refuse-left-out', often, '--json')
  expect(JSON.parse(again.stdout)).toMatchObject({ policy: { refuseLeftOut: ['unplugged', 'excluded'] } })
  const less = await run('policy', 'db1', '--refuse-left-out', 'none', '--compare-every', 'never', '--json')
  expect(JSON.parse(less.stdout)).toMatchObject({ policy: { ...wanted, refuseLeftOut: [], compareDays: null } })
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
    'machines.configure machine=db1',
    'machines.configure machine=db1',
    'machines.configure machine=db1',
    `machines.assign machine=db1 agent=${second}`,
    `machines.assign machine=db1 agent=${second}`,
    `machines.assign machine=db1 agent=${second}`,
  ])
})
