// A host that enrols again: nothing is lost, everyone is told, and what the old agent left goes on or is removed.
import { randomBytes } from 'node:crypto'
import { expect, test, vi } from 'vitest'
import { KIB, MIB } from '../support/model-machine.ts'
import { bare, expectDisks, expectNothingLeft, withCheckpoint } from '../support/stand-checks.ts'
import { Stand, TENANT } from '../support/stand.ts'
import { eventually } from '../support/temp.ts'

vi.setConfig({ testTimeout: 180_000 })

test('a new agent is told what it may not have, takes over what is assigned to it, and goes on with its bitmaps', async () => {
  await using stand = await Stand.start()
  const host = await stand.addHost()
  const disks = [{ id: 'vda', format: 'qcow2', size: 16 * MIB, content: randomBytes(16 * MIB) }] as const
  const machine = await host.addMachine('db1', disks)
  const before = await machine.objects()
  await host.start()
  const first = await host.backup('db1')
  const old = host.agentId

  const token = (await stand.done('enrol', '--tenant', TENANT)).stdout.trim()
  const enrol = ['enrol', '--gateway', `ws://127.0.0.1:${host.link.port}`, '--token', token]
  expect(await host.run(...enrol)).toMatchObject({ code: 5, stderr: expect.stringMatching(/stop it first/u) })
  await host.end('SIGTERM')
  const refused = await host.run(...enrol)
  expect(refused).toMatchObject({ code: 5, stdout: '' })
  expect(refused.stderr).toMatch(new RegExp(`is agent ${old} .*--force.*\\(EXISTS\\)`, 'u'))
  const { stdout } = await host.done(...enrol, '--force')
  await host.enrolled()
  const assign = ['machine', 'assign', 'db1', '--agent', host.agentId, '--tenant', TENANT]
  expect(stdout).toContain(`varve-gateway ${assign.join(' ')}`)

  // before it runs, and while it runs
  const idle = await host.run('backup', 'db1')
  expect(idle).toMatchObject({ code: 3, stderr: expect.stringContaining('is not running on this host') })
  expect(idle.stderr).toContain(assign.join(' '))
  await host.start()
  await eventually(async () => (await host.run('backup', 'db1')).code === 5)
  for (const args of [['backup', 'db1'], ['machines'], ['status'], ['forget', 'db1']]) {
    const { stdout: out, stderr } = await host.run(...args)
    expect(out + stderr, args[0]).toContain(`refused by the gateway: the machine belongs to the agent of host`)
    expect(out + stderr, args[0]).toContain(assign.join(' '))
  }
  expect((await host.done('status')).stdout).toContain('Agent: running.')

  // once it is assigned, the checkpoint of the agent that this host was is as good as its own
  await stand.done(...assign)
  await machine.write('vda', 3 * MIB, randomBytes(64 * KIB))
  const second = await host.backup('db1')
  expect(second).toMatchObject({ kind: 'incremental', reason: 'bitmap' })
  expectDisks(await stand.restore(second.point), machine.snapshot())
  await expectNothingLeft(host, machine, withCheckpoint(before, host.checkpoint(second.point), disks))
  expect(first.point).not.toBe(second.point)

  await host.done('forget', 'db1')
  const objects = await machine.objects()
  expect(objects).toEqual(bare(objects))
})
