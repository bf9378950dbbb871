// Which driver a machine has, by its keys.
import { expect, test } from 'vitest'
import { Drivers, kindOf } from '../../../agent/drivers/registry.ts'
import { driverHost } from '../../support/driver-host.ts'
import { qmpMachine } from '../../support/journal-entry.ts'
import { tempFolder } from '../../support/temp.ts'

test.each([{ name: 'db1', qmp: '/q' }, { name: 'db1' }, null, 'text'])('%j is the first driver’s', (table) => {
  expect(kindOf(table).name).toBe('qmp')
})

test('a machine’s address is the same however its path is written', () => {
  const { addressOf } = kindOf({ qmp: '/q' })
  expect(addressOf({ qmp: '/run//x/../qemu/a' })).toBe('/run/qemu/a')
})

test('a driver is found by a machine, and one that there is not is a fault', async () => {
  await using folder = await tempFolder()
  await using drivers = new Drivers(await driverHost(folder.path))
  const machine = qmpMachine('/nowhere')
  expect(drivers.of(machine)).toBe(drivers.of({ driver: 'qmp' }))
  expect(() => drivers.of({ ...machine, driver: 'none' })).toThrow('there is no driver "none"')
})
