// Leaving: checkpoints are forgotten beside a running agent and without one, and a host is left as it was.
import { existsSync } from 'node:fs'
import { expect, test, vi } from 'vitest'
import { MIB } from '../support/model-machine.ts'
import { bare } from '../support/stand-checks.ts'
import { Stand } from '../support/stand.ts'

vi.setConfig({ testTimeout: 120_000 })

test('forget beside a running agent and without one; uninstall only without one, and everything goes', async () => {
  await using stand = await Stand.start()
  const host = await stand.addHost()
  const disks = [
    { id: 'vda', format: 'qcow2', size: 4 * MIB },
    { id: 'vdb', format: 'raw', size: 4 * MIB },
  ] as const
  const machine = await host.addMachine('db1', disks)
  const before = bare(await machine.objects())
  await host.start()
  await host.backup('db1')

  const one = await host.done('forget', 'db1', '--disk', 'vda', '--json')
  const removed = [{ node: 'vda' }]
  expect(JSON.parse(one.stdout)).toMatchObject({ machine: 'db1', removed, left: [] })
  expect(await host.run('forget', 'db1', '--disk', 'vdx')).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('NOT_FOUND'),
  })
  expect(await host.run('forget', 'db2')).toMatchObject({ code: 1, stderr: expect.stringContaining('db1') })
  expect(await host.backup('db1')).toMatchObject({ disks: [{ reason: 'bitmap-missing' }, { reason: 'bitmap' }] })
  expect(await host.run('uninstall')).toMatchObject({ code: 5, stderr: expect.stringContaining('stop it first') })

  await host.end('SIGTERM')
  expect((await host.done('forget', 'db1')).stdout).toContain('next backup of db1')
  expect(await machine.objects()).toEqual(before)
  expect((await host.done('forget', 'db1')).stdout).toContain('no checkpoint')

  await host.start()
  await host.backup('db1')
  await host.end('SIGTERM')
  await machine.qemu.quit()
  expect(await host.run('uninstall')).toMatchObject({ code: 5, stdout: expect.stringContaining('db1: ') })
  expect(existsSync(host.stateFolder)).toBe(true)
  const other = await stand.addHost()
  await (await other.addMachine('db2', disks)).qemu.quit()
  await other.configure({})
  expect((await other.done('uninstall', '--force')).stdout).toContain('db2: ')
  expect(existsSync(other.stateFolder)).toBe(false)
  await machine.qemu.start()
  expect((await host.done('uninstall')).stdout).toContain(host.stateFolder)
  expect(existsSync(host.stateFolder)).toBe(false)
  expect(existsSync(host.configFile)).toBe(true)
  expect(await machine.objects()).toEqual(before)
  expect((await host.residue()).sockets).toEqual([])
})
