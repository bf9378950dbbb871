// Backups by command, of a real machine: followed to their end with a token from elsewhere, begun only, cancelled by Ctrl-C.
import { writeFile } from 'node:fs/promises'
import { expect, test, vi } from 'vitest'
import { EXIT } from '../../../protocol/host/exit.ts'
import { Dice } from '../../support/model-dice.ts'
import { MIB } from '../../support/model-machine.ts'
import { Stand, TENANT } from '../../support/stand.ts'
import { Program } from '../../support/stand-program.ts'
import { eventually } from '../../support/temp.ts'

vi.setConfig({ testTimeout: 120_000 })

const OF = ['--tenant', TENANT]

interface Listed {
  readonly jobs: readonly { readonly id: string; readonly state: string; readonly released: boolean }[]
}

test('a backup is followed to its restore point, begun only, and cancelled by command and by Ctrl-C', async () => {
  await using stand = await Stand.start()
  const host = await stand.addHost({ settings: { bandwidth: '256 KiB' } })
  await host.addMachine('db1', [{ id: 'vda', format: 'qcow2', size: MIB, content: Buffer.alloc(MIB, 7) }])
  const content = Buffer.from(new Dice(7).bytes(8 * MIB))
  await host.addMachine('db2', [{ id: 'vda', format: 'raw', size: 8 * MIB, content }])
  await host.start()
  const tokenFile = stand.folder.join('token')
  await writeFile(tokenFile, await stand.token('operator'), { mode: 0o600 })
  const away = ['--gateway', stand.url, '--token-file', tokenFile]
  const run = (...args: string[]): Program => new Program('gateway', args)
  const jobs = async (): Promise<Listed['jobs']> => {
    const { stdout } = await stand.done('job', 'list', ...OF, '--machine', 'db2', '--json')
    return (JSON.parse(stdout) as Listed).jobs
  }

  const made = await run('backup', 'db1', ...away).ended
  expect([made.code, made.stderr]).toEqual([EXIT.ok, ''])
  expect(made.stdout).toMatch(
    /^Restore point [\da-f]{8} of db1: full \(first\), .*\n(?: .*\n)* {2}vda: 1\.0 MiB, .*\n {2}1 attachment: .*\n {2}read 1\.0 MiB/u,
  )

  const begun = await run('backup', 'db2', '--detach', ...away).ended
  const [, job = ''] = /^Backup ([\da-f-]{36}) of db2 has started;/u.exec(begun.stdout) ?? []
  const busy = await stand.run('backup', 'db2', ...OF)
  expect([busy.code, busy.stderr]).toEqual([EXIT.refused, expect.stringContaining('JOB_RUNNING')])
  await using watch = run('job', 'watch', job, ...away)
  await stand.done('job', 'cancel', job, ...OF)
  const watched = await watch.ended
  expect([watched.code, watched.stderr]).toEqual([EXIT.interrupted, expect.stringContaining('(CANCELLED)')])
  expect((await jobs())[0]).toMatchObject({ id: job, state: 'failed', released: true })

  await using interrupted = new Program('gateway', ['backup', 'db2', '--data', stand.dataFolder, ...OF])
  await eventually(async () => (await jobs())[0]?.id !== job)
  interrupted.signal('SIGINT')
  const { code, stderr } = await interrupted.ended
  expect([code, stderr]).toEqual([
    EXIT.interrupted,
    expect.stringMatching(
      /^varve-gateway: interrupted by SIGINT: backup [\da-f]{8} was cancelled and the machine released \(CANCELLED\)\n$/u,
    ),
  ])
  expect((await jobs())[0]).toMatchObject({ state: 'failed', released: true })
})
