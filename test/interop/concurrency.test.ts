// What may happen at once: two machines' backups, a restore beside them; what may not: two backups of one, two agents of
// one host.
import { readFile } from 'node:fs/promises'
import { expect, test, vi } from 'vitest'
import { Dice } from '../support/model-dice.ts'
import { MIB } from '../support/model-machine.ts'
import { expectDisks } from '../support/stand-checks.ts'
import { Stand } from '../support/stand.ts'
import { eventually } from '../support/temp.ts'

vi.setConfig({ maxConcurrency: 2 })

test.concurrent(
  'two machines of one host are backed up at once, within one bandwidth limit, while a disk is restored',
  async () => {
    const dice = new Dice(100)
    await using stand = await Stand.start()
    const host = await stand.addHost()
    const one = await host.addMachine('one', [
      { id: 'vda', format: 'qcow2', size: 6 * MIB, content: dice.bytes(6 * MIB) },
    ])
    const two = await host.addMachine('two', [
      { id: 'vda', format: 'raw', size: 6 * MIB, content: dice.bytes(6 * MIB) },
    ])
    await host.start()
    const first = await host.backup('one')
    const firstModel = one.snapshot()
    await host.end('SIGTERM')
    await host.start({ bandwidth: '2 MiB' })
    await one.write('vda', 0, dice.bytes(4 * MIB))

    const startedMs = performance.now()
    const file = stand.folder.join('restored')
    const [increment, full] = await Promise.all([
      host.backup('one'),
      host.backup('two'),
      host.done('restore', first.point, '--disk', 'vda', '--to', file),
    ])
    // 10 MiB at 2 MiB a second, less what may go at once after a pause
    expect(performance.now() - startedMs).toBeGreaterThan(4000)
    expect((await readFile(file)).equals(firstModel.get('vda')!)).toBe(true)
    expectDisks(await stand.restore(increment.point), one.snapshot())
    expectDisks(await stand.restore(full.point), two.snapshot())
  },
)

test.concurrent('a second backup of one machine is refused, or waits with --wait', async () => {
  const dice = new Dice(101)
  await using stand = await Stand.start()
  const host = await stand.addHost({ settings: { bandwidth: '4 MiB' } })
  const machine = await host.addMachine('db1', [
    { id: 'vda', format: 'qcow2', size: 12 * MIB, content: dice.bytes(12 * MIB) },
  ])
  await host.start()
  const peer = await stand.peer()
  const { job } = await peer.call('backup.start', { machine: 'db1', full: false })
  await stand.begun(job)
  const refused = await host.run('backup', 'db1')
  expect(refused).toMatchObject({ code: 5, stderr: expect.stringContaining('JOB_RUNNING') })
  const waited = await host.backup('db1', '--wait')
  expect(await stand.ended(job)).toMatchObject({ state: 'committed' })
  expect(waited).toMatchObject({ kind: 'incremental', bytesRead: 0 })
  expectDisks(await stand.restore(waited.point), machine.snapshot())
})

test.concurrent('a second agent on one state folder is refused, and the first goes on', async () => {
  await using stand = await Stand.start()
  const host = await stand.addHost()
  await host.addMachine('db1', [{ id: 'vda', format: 'raw', size: MIB }])
  await host.start()
  const second = await host.run('run')
  expect(second).toMatchObject({ code: 5, stderr: expect.stringContaining('STATE_LOCKED') })
  expect(await host.backup('db1')).toMatchObject({ kind: 'full', reason: 'first' })
})

test.concurrent('without its agent a machine’s backup is refused at once, or waits for it with --wait', async () => {
  await using stand = await Stand.start()
  const host = await stand.addHost()
  await host.addMachine('db1', [{ id: 'vda', format: 'raw', size: MIB }])
  await host.start()
  await host.end('SIGTERM')
  await eventually(async () => {
    const { machines } = await (await stand.peer()).call('machines.list', {})
    return machines.every(({ online }) => !online)
  })
  const refused = await host.run('backup', 'db1')
  expect(refused).toMatchObject({ code: 3, stderr: expect.stringContaining('AGENT_OFFLINE') })
  const waiting = host.backup('db1', '--wait')
  await host.start()
  expect(await waiting).toMatchObject({ kind: 'full', reason: 'first' })
})
