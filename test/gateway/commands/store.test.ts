// The commands that keep the datastore as a person runs them: their reports as JSON and as text, exit codes, and one at a
// time for each tenant.
import { writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { EXIT } from '../../../protocol/host/exit.ts'
import { runHere, type Said } from '../../commands/run-here.ts'
import { startGateway, TENANT } from '../../support/gateway.ts'
import { tempFolder } from '../../support/temp.ts'
import { addAgent, addMachine, addPoint } from '../catalog.ts'
import { runGateway, type Ended } from '../program.ts'

test('every report of a healthy datastore, beside a running gateway, as text and as JSON', async () => {
  await using temp = await tempFolder()
  const data = temp.join('data')
  await using gateway = await startGateway({ folder: data })
  await gateway.addTenant('beta')
  const run = (...args: string[]): Promise<Ended> => runGateway([...args, '--data', data])
  for (const [args, fields] of [
    [['gc', '--dry-run'], { dryRun: true, dead: expect.any(Object) as object }],
    [['gc', '--threshold', '50', '--limit', '10'], { dryRun: false }],
    [['verify', '--older-than', '30d'], { points: 0, damagedCount: 0 }],
    [['usage', '--points'], { packBytes: expect.any(Number) as number }],
    [['repair', '--check'], { dangling: 0, problemCount: 0 }],
  ] as const) {
    const report = await run(...args, '--json')
    expect([args, report.code, report.stderr]).toEqual([args, EXIT.ok, ''])
    expect(JSON.parse(report.stdout)).toMatchObject({
      tenants: [
        { tenant: TENANT, ...fields },
        { tenant: 'beta', ...fields },
      ],
    })
  }
  const text = await run('usage', '--tenant', 'beta')
  expect(text).toMatchObject({ code: EXIT.ok, stderr: '' })
  expect(text.stdout).toMatch(/^TENANT.*\nbeta /u)
  const missing = await run('verify', '--tenant', TENANT, '--machine', 'nowhere')
  expect([missing.code, missing.stderr]).toEqual([EXIT.failed, expect.stringContaining('NOT_FOUND')])
  const nothing = await run('verify', '--tenant', TENANT, '--machine', 'nowhere', '--json')
  expect([nothing.code, JSON.parse(nothing.stdout)]).toMatchObject([
    EXIT.failed,
    { tenants: [], error: { code: 'NOT_FOUND', exit: EXIT.failed } },
  ])
})

test('a token of the platform is told what it sees of a check, and no log but its own', async () => {
  await using temp = await tempFolder()
  await using gateway = await startGateway({ folder: temp.join('data') })
  const tokenFile = temp.join('token')
  await writeFile(tokenFile, await gateway.tokenFor('platform'), { mode: 0o600 })
  const run = (...args: string[]): Promise<Said> =>
    runHere('varve-gateway', [...args, '--gateway', gateway.url, '--token-file', tokenFile])
  const checked = await run('repair', '--check')
  expect([checked.code, checked.stdout]).toEqual([EXIT.ok, expect.stringContaining('is as it should be')])
  const asJson = await run('repair', '--check', '--json')
  expect(JSON.parse(asJson.stdout)).toEqual({ problems: [], tenants: [] })
  const other = await run('audit', 'list', '--tenant', TENANT)
  expect([other.code, other.stdout, other.stderr]).toEqual([
    EXIT.denied,
    '',
    expect.stringContaining("take a token of the tenant's"),
  ])
  expect((await run('audit', 'list')).stdout).toContain('store.checkFolder')
})

test('damage that is known ends a verification with 1, after its report, on a stopped gateway', async () => {
  await using temp = await tempFolder()
  const data = temp.join('data')
  {
    await using gateway = await startGateway({ folder: data })
    const tenant = await gateway.addTenant(TENANT)
    const machine = await addMachine(gateway.catalog, tenant, await addAgent(gateway.catalog, tenant), 'db1')
    // a tree that is in no pack
    await addPoint(gateway.catalog, tenant, machine, { root: new Uint8Array(32).fill(7), size: 65_536 })
  }
  const verified = await runGateway(['verify', '--json', '--data', data])
  expect([verified.code, verified.stderr]).toEqual([
    EXIT.failed,
    expect.stringMatching(/^varve-gateway: .*acme \(DATA_DAMAGED\)\n$/u),
  ])
  expect(JSON.parse(verified.stdout)).toMatchObject({
    tenants: [{ tenant: TENANT, points: 1, good: 0, lostCount: 1 }],
    error: { code: 'DATA_DAMAGED', exit: EXIT.failed },
  })
})

test('what is not a value or lacks its tenant is refused', async () => {
  await using temp = await tempFolder()
  await using _gateway = await startGateway({ folder: temp.join('data') })
  for (const args of [
    ['gc', '--threshold', '101'],
    ['gc', '--limit', '0'],
    ['verify', '--machine', 'db1'],
    ['usage', '--machine', 'db1'],
    ['repair'],
  ]) {
    const { code, stdout } = await runGateway([...args, '--data', temp.join('data')])
    expect([args, code, stdout]).toEqual([args, EXIT.usage, ''])
  }
})
