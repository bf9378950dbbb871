// The repair command as a person runs it: what to do must be said, a rebuild needs the gateway stopped, and its report
// lists what was not found.
import { rm } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { isIncomplete, rebuildLines } from '../../../gateway/commands/report-rebuild.ts'
import { RebuildReport } from '../../../gateway/maintenance/rebuild-report.ts'
import { EXIT } from '../../../protocol/host/exit.ts'
import { startGateway, TENANT } from '../../support/gateway.ts'
import { tempFolder } from '../../support/temp.ts'
import { runGateway, type Ended } from '../program.ts'

test('a catalog that was deleted is built again from the packs', async () => {
  await using temp = await tempFolder()
  const data = temp.join('data')
  const run = (...args: string[]): Promise<Ended> => runGateway([...args, '--data', data])
  {
    await using gateway = await startGateway({ folder: data })
    await gateway.enrolAgent(temp.join('state'))
    const beside = await run('repair', '--rebuild')
    expect([beside.code, beside.stderr]).toEqual([
      EXIT.refused,
      expect.stringContaining('stop it first (STORE_LOCKED)'),
    ])
  }
  for (const args of [['repair'], ['repair', '--check', '--rebuild'], ['repair', '--rebuild', '--tenant', TENANT]])
    expect([args, (await run(...args)).code]).toEqual([args, EXIT.usage])
  for (const end of ['', '-wal', '-shm']) await rm(temp.join('data', `catalog.db${end}`), { force: true })
  const refused = await run('usage')
  expect([refused.code, refused.stderr]).toEqual([EXIT.refused, expect.stringContaining('repair --rebuild')])
  const rebuilt = await run('repair', '--rebuild', '--json')
  expect([rebuilt.code, rebuilt.stderr]).toEqual([EXIT.ok, ''])
  expect(JSON.parse(rebuilt.stdout)).toMatchObject({ tenants: 1, agents: 1, lostPoints: { count: 0, rows: [] } })
  expect(JSON.parse((await run('agent', 'list', '--tenant', TENANT, '--json')).stdout)).toMatchObject({
    agents: [{ revoked: null }],
  })
})

test('the report names all that was not found, and cuts long lists with a count', () => {
  const report = new RebuildReport()
  expect(isIncomplete(report)).toBe(false)
  const short = rebuildLines(report)
  expect(short.at(-1)).toContain('no old catalog')
  expect(short.join('\n')).not.toContain('not found again')
  report.takenFrom = 'catalog.db'
  report.replaced = 'catalog.db.replaced-1'
  report.lostPoints.add({ tenant: 'acme', point: 'p1', problem: 'no manifest' })
  report.incompletePoints.add({ tenant: 'acme', point: 'p2', machine: 'db1', timeMs: 0, disks: ['vda', 'vdb'] })
  report.catalogPoints.add({ tenant: 'acme', point: 'p3' })
  report.withoutState.add({ tenant: 'acme', packs: 2, problem: 'none' })
  report.unknownFiles.add('strange')
  report.remarks.add('look here')
  for (let index = 0; index < 3000; index++)
    report.unreadable.add({ tenant: 'acme', pack: 'k', offset: index, length: null, problem: 'torn' })
  expect(isIncomplete(report)).toBe(true)
  const text = rebuildLines(report).join('\n')
  for (const part of [
    /The old catalog is kept as catalog\.db\.replaced-1/u,
    /not found again: 1\nTENANT .*\nacme +p1 +no manifest/u,
    /parts missing: 1\n.*\nacme +db1 +1970-01-01 00:00:00 +p2 +vda, vdb/u,
    /old catalog alone: 1\n.*\nacme +p3/u,
    /state was not found whole: 1\n.*\nacme +2 +none/u,
    /could not be read: 3000\n.*\nacme +k +0 +all +torn/u,
    /\.\.\. and 2900 more/u,
    /\nstrange\n/u,
    /\nlook here$/u,
  ])
    expect(text).toMatch(part)
})
