// Which driver a machine has, by its keys.
import { expect, test } from 'vitest'
import { Drivers, kindOf } from '../../../agent/drivers/registry.ts'
import { driverHost } from '../../support/driver-host.ts'
import { journalled, qmpMachine } from '../../support/journal-entry.ts'
import { tempFolder } from '../../support/temp.ts'

test.each([{ name: 'db1', qmp: '/q' }, { name: 'db1' }, null, 'text'])('%j is the first driver’s', (table) => {
  expect(kindOf(table).name).toBe('qmp')
})

test('a machine that names its driver has that one, and one that names no driver there is has the first', () => {
  expect(kindOf({ driver: 'qmp' }).name).toBe('qmp')
  expect(kindOf({ driver: 'none', qmp: '/q' }).name).toBe('qmp')
})

test('a lease begins with the machine’s own driver, whose error stands where the machine is not known to be off', async () => {
  await using folder = await tempFolder()
  await using drivers = await Drivers.open(await driverHost(folder.path))
  const request = {
    machine: qmpMachine(`${folder.path}/nothing`),
    leaseId: '0192bbbb-1111-7000-8000-000000000001',
    agentId: '0192aaaa-0000-7000-8000-0000c0ffee42',
    formerAgents: [],
    base: null,
    full: false,
    compare: false,
    chunkBytes: 65_536,
    consistency: 'none' as const,
    freezeTimeoutMs: 1000,
    refuseFull: [],
    refuseLeftOut: [],
  }
  await expect(drivers.begin(request)).rejects.toMatchObject({ code: 'QMP_UNAVAILABLE' })
})

test('what a lease left where the machine no longer runs does not keep another driver from it', async () => {
  await using folder = await tempFolder()
  const host = await driverHost(folder.path)
  await using drivers = await Drivers.open(host)
  const left = journalled({ phase: 'ending', outcome: 'failed' })
  await host.journal.write(left)
  const uri = `qemu:///session?socket=${folder.path}/nothing`
  const machine = { ...qmpMachine('/nowhere'), driver: 'libvirt', address: 'there', keys: { domain: 'db1', uri } }
  const request = {
    machine,
    leaseId: '0192bbbb-1111-7000-8000-000000000002',
    agentId: '0192aaaa-0000-7000-8000-0000c0ffee42',
    formerAgents: [],
    base: null,
    full: false,
    compare: false,
    chunkBytes: 65_536,
    consistency: 'none' as const,
    freezeTimeoutMs: 1000,
    refuseFull: [],
    refuseLeftOut: [],
  }
  await expect(drivers.begin(request)).rejects.toMatchObject({ code: 'LIBVIRT_UNAVAILABLE' })
  expect(await host.journal.list()).toMatchObject([{ id: left.id }])
  await host.journal.write(journalled())
  await expect(drivers.begin(request)).rejects.toMatchObject({ code: 'LEASE_HELD' })
})

test('a machine’s address is the same however its path is written', () => {
  const { addressOf } = kindOf({ qmp: '/q' })
  expect(addressOf({ qmp: '/run//x/../qemu/a' })).toBe('/run/qemu/a')
})

test('a driver is found by a machine, and one that there is not is a fault', async () => {
  await using folder = await tempFolder()
  await using drivers = await Drivers.open(await driverHost(folder.path))
  const machine = qmpMachine('/nowhere')
  expect(drivers.of(machine)).toBe(drivers.of({ driver: 'qmp' }))
  expect(() => drivers.of({ ...machine, driver: 'none' })).toThrow('there is no driver "none"')
})
