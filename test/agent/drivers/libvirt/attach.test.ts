// A driver that is attached to its machines. Goal: the agent hears at once when a machine may have come or gone, of its own
// machines alone, over restarts of libvirt's daemon, until the machine is detached. Method: a real daemon, and a driver that
// notes what it tells.
import { mkdir } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { addressOf } from '../../../../agent/drivers/libvirt/keys.ts'
import { LibvirtDriver } from '../../../../agent/drivers/libvirt/libvirt-driver.ts'
import { driverHost } from '../../../support/driver-host.ts'
import { startLibvirt } from '../../../support/libvirt.ts'
import { eventually, tempFolder } from '../../../support/temp.ts'

test('a machine’s comings and goings are told, whether it is named or given by its uuid', async () => {
  await using folder = await tempFolder()
  await using libvirt = await startLibvirt({ folder: folder.path })
  const mine = await libvirt.define({ name: 'mine', disks: [] })
  const other = await libvirt.define({ name: 'other', disks: [] })
  const told: string[] = []
  await mkdir(folder.join('state'))
  const host = await driverHost(folder.join('state'), { onMoved: (machine) => void told.push(machine) })
  await using driver = new LibvirtDriver(host, { runtimeFolder: folder.join('state') })
  const machineOf = (name: string, domain: string) => {
    const keys = { domain, uri: libvirt.uri }
    return { name, driver: 'libvirt', address: addressOf(keys), keys, exclude: [], attach: [] }
  }
  const machines = [machineOf('by-name', 'mine'), machineOf('by-uuid', mine.domain.uuid.toUpperCase())]
  for (const machine of machines) driver.attach(machine)
  const count = (): number[] => machines.map(({ name }) => told.filter((one) => one === name).length)
  // the connection is up
  await eventually(() => count().every((times) => times > 0))
  const before = count()
  await other.start()
  await other.destroy()
  await mine.start()
  await eventually(() => count().every((times, index) => times > before[index]!))
  expect(new Set(told)).toEqual(new Set(['by-name', 'by-uuid']))
  await libvirt.stop('SIGKILL')
  const down = count()
  await libvirt.start()
  await eventually(() => count().every((times, index) => times > down[index]!))
  const up = count()
  await mine.destroy()
  await eventually(() => count().every((times, index) => times > up[index]!))
  driver.detach(machines[0]!)
  const [detached, attached] = count()
  await mine.start()
  await eventually(() => count()[1]! > attached!)
  expect(count()[0]).toBe(detached)
})

test('what happens to another machine is not told', async () => {
  await using folder = await tempFolder()
  await using libvirt = await startLibvirt({ folder: folder.path })
  const other = await libvirt.define({ name: 'other', disks: [] })
  const told: string[] = []
  await mkdir(folder.join('state'))
  const host = await driverHost(folder.join('state'), { onMoved: (machine) => void told.push(machine) })
  await using driver = new LibvirtDriver(host, { runtimeFolder: folder.join('state') })
  const keys = { domain: 'mine', uri: libvirt.uri }
  driver.attach({ name: 'mine', driver: 'libvirt', address: addressOf(keys), keys })
  await eventually(() => told.length > 0)
  const before = told.length
  const seen: string[] = []
  libvirt.control.subscribe((event) => void (event.kind === 'lifecycle' && seen.push(event.detail)))
  await other.start()
  await other.destroy()
  await eventually(() => seen.includes('destroyed'))
  expect(told.length).toBe(before)
})
