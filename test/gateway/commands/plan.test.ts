// The commands about plans beside a running gateway: made, shown, changed, applied from a file and given back, with what changed.
import { writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { EXIT } from '../../../protocol/host/exit.ts'
import type { Plan } from '../../../protocol/plans.ts'
import { startGateway, TENANT } from '../../support/gateway.ts'
import { tempFolder } from '../../support/temp.ts'
import { addAgent, addMachine } from '../catalog.ts'
import { runGateway, type Ended } from '../program.ts'

const open = async () => {
  await using resources = new AsyncDisposableStack()
  const temp = resources.use(await tempFolder())
  const gateway = resources.use(await startGateway({ folder: temp.join('data') }))
  const { catalog } = gateway
  const tenant = (await catalog.tenants.byName({ name: TENANT }))!
  await addMachine(catalog, tenant, await addAgent(catalog, tenant), 'db1')
  const held = resources.move()
  return {
    temp,
    run: (...args: string[]): Promise<Ended> => runGateway([...args, '--tenant', TENANT, '--data', temp.join('data')]),
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  }
}

const linesOf = ({ stdout }: Ended): string[] => stdout.trimEnd().split('\n')

test('a plan is made, changed field by field with what changed, shown, turned off and on, and removed', async () => {
  await using place = await open()
  const { run } = place
  const made = await run('plan', 'set', 'gold', '--rpo', '4h', '--keep-daily', '7', '--cover-machine', 'db1', 'db9')
  expect(linesOf(made)).toEqual([
    '+ plan gold',
    '    rpo: none -> 4h',
    '    keep.daily: 0 -> 7',
    '    covers.machines: +db1, db9',
  ])
  expect(made.stderr).toContain('plan gold: there is no machine "db9" yet')
  const options = ['--schedule', '30 2 * * *', '--rpo', 'none', '--window', '22:00-06:00', '--jitter', '10m']
  const more = ['--uncover-machine', 'db9', '--cover-others', '--compare-every', '30d', '--verify-every', '30d']
  expect(linesOf(await run('plan', 'set', 'gold', ...options, ...more))).toEqual([
    '~ plan gold',
    '    schedule: none -> 30 2 * * *',
    '    rpo: 4h -> none',
    '    window: none -> 22:00-06:00',
    '    jitter: 0s -> 10m',
    '    compare_days: none -> 30',
    '    verify_days: none -> 30',
    '    covers.machines: -db9',
    '    covers.others: false -> true',
  ])
  const same = await run('plan', 'set', 'gold', '--jitter', '10m')
  expect(same.stdout).toBe('Nothing changes: plan gold is so already.\n')
  const dry = await run('plan', 'set', 'gold', '--priority', '90', '--dry-run')
  expect(dry.stdout).toContain('priority: 50 -> 90')
  const shown = JSON.parse((await run('plan', 'show', 'gold', '--json')).stdout) as { plan: Plan }
  expect(shown.plan).toMatchObject({
    priority: 50,
    jitterMs: 600_000,
    keep: { daily: 7 },
    covers: { machines: ['db1'] },
  })
  expect((await run('plan', 'show', 'gold')).stdout).toMatch(/keeps +daily 7 \(UTC\)/u)
  expect((await run('plan', 'disable', 'gold')).stdout).toBe('Plan gold is disabled.\n')
  expect((await run('plan', 'disable', 'gold')).stdout).toBe('Plan gold is disabled already: nothing was changed.\n')
  expect((await run('plan', 'next', 'gold')).stdout).toBe('Plan gold: plan gold is disabled.\n')
  expect((await run('plan', 'enable', 'gold')).stdout).toBe('Plan gold is enabled.\n')
  const next = await run('plan', 'next', '--machine', 'db1', '--count', '3')
  expect(linesOf(next)[0]).toBe('db1 (plan gold) runs next (UTC):')
  expect(linesOf(next)).toHaveLength(4)
  expect(linesOf(next)[1]).toMatch(/ 02:30:00, starts from /u)
  const typo = await run('plan', 'enable', 'glod')
  expect([typo.code, typo.stderr]).toEqual([EXIT.failed, expect.stringContaining('did you mean "gold"?')])
  expect((await run('plan', 'remove', 'gold')).stdout).toBe('- plan gold\n')
  expect((await run('plan', 'list')).stdout).toContain('There is no plan')
})

test('a file is applied with its difference first, only with --yes where nobody can be asked, and given back as it is', async () => {
  await using place = await open()
  const { run, temp } = place
  const file = temp.join('plans.toml')
  await writeFile(
    file,
    '[plans.gold]\nrpo = "4h"\ncovers = { patterns = ["db*"] }\n[plans.rest]\ncovers = { others = true }\n',
  )
  const apply = (...more: string[]): Promise<Ended> => run('plan', 'apply', '-f', file, ...more)
  const dry = await apply('--dry-run')
  expect([dry.code, linesOf(dry)[0]]).toEqual([EXIT.ok, '+ plan gold'])
  const unasked = await apply()
  expect([unasked.code, unasked.stderr]).toEqual([EXIT.usage, expect.stringContaining('--yes')])
  expect((await run('plan', 'list')).stdout).toContain('There is no plan')
  expect(linesOf(await apply('--yes')).at(-1)).toBe('Applied: 2 plans changed.')
  expect((await apply()).stdout).toBe('Nothing changes: the plans are as the file has them.\n')
  const exported = (await run('plan', 'export')).stdout
  const again = temp.join('again.toml')
  await writeFile(again, exported)
  expect((await run('plan', 'apply', '-f', again, '--replace')).stdout).toContain('Nothing changes')
  // what the file does not have goes only where that is said
  await writeFile(file, '[plans.gold]\nrpo = "2h"\ncovers = { patterns = ["db*"] }\n')
  expect(linesOf(await apply('--yes'))).toEqual(['~ plan gold', '    rpo: 4h -> 2h', 'Applied: 1 plan changed.'])
  const json = JSON.parse((await apply('--yes', '--replace', '--json')).stdout) as object
  expect(json).toEqual({ dryRun: false, changes: [{ plan: 'rest', change: 'removed', fields: [] }], warnings: [] })
  await writeFile(file, '[plans.a]\ncovers = { machines = ["db1"] }\n[plans.b]\ncovers = { machines = ["db1"] }\n')
  const twice = await apply('--yes')
  expect([twice.code, twice.stderr]).toEqual([EXIT.usage, expect.stringContaining('"db1" is listed twice')])
})

test('a machine is excluded with its reason until a time, shown so, and included again', async () => {
  await using place = await open()
  const { run } = place
  await run('plan', 'set', 'all', '--cover-others', '--rpo', '4h')
  const excluded = await run('machine', 'exclude', 'db1', '--reason', 'it is rebuilt', '--until', '14d')
  expect(excluded.stdout).toMatch(/^db1 is excluded: it is rebuilt; it ends .* UTC\./u)
  expect((await run('machine', 'list')).stdout).toMatch(/db1 .* excluded /u)
  expect((await run('plan', 'next', '--machine', 'db1')).stdout).toBe(
    'db1 (plan all): it is excluded: it is rebuilt.\n',
  )
  expect((await run('machine', 'include', 'db1')).stdout).toBe('db1 is excluded no more.\n')
  expect((await run('machine', 'include', 'db1')).stdout).toBe('db1 was not excluded: nothing was changed.\n')
  expect((await run('plan', 'next', '--machine', 'db1')).stdout).toMatch(/the gateway chooses the time/u)
})
