// How a domain that is off is read. Goal: all of its disks or none: a point never lacks a disk in silence. Method: definitions.
import { expect, test } from 'vitest'
import { offlineMachine } from '../../../../agent/drivers/libvirt/when-off.ts'
import { addressOf } from '../../../../agent/drivers/libvirt/keys.ts'
import { keysOf } from '../../../../agent/drivers/offline/keys.ts'

const own = { domain: 'db1', uri: 'qemu:///system' }
const machine = {
  name: 'db',
  driver: 'libvirt',
  address: addressOf(own),
  keys: own,
  exclude: ['vdb'],
  attach: ['/etc/a'],
}

const disk = (target: string, source: string, format = 'qcow2'): string =>
  `<disk><driver type='${format}'/><source ${source}/><target dev='${target}'/></disk>`

const definition = (...disks: string[]): string =>
  `<domain><name>db1</name><devices>${disks.join('')}</devices></domain>`

test('its files and devices, but for those that are left out', () => {
  const disks = [
    disk('vda', "file='/v/a.qcow2'"),
    disk('vdb', "protocol='rbd' name='x'"),
    disk('vdc', "dev='/dev/c'", 'raw'),
  ]
  expect(offlineMachine(machine, definition(...disks), null)).toMatchObject({
    name: 'db',
    driver: 'offline',
    keys: {
      disks: [
        { name: 'vda', path: '/v/a.qcow2', format: 'qcow2' },
        { name: 'vdc', path: '/dev/c', format: 'raw' },
      ],
    },
  })
})

test.each([
  ['no disk', []],
  ['a disk in another store', [disk('vda', "file='/v/a'"), disk('vdc', "protocol='rbd' name='x'")]],
  ['a format that is not read', [disk('vda', "file='/v/a'"), disk('vdc', "file='/v/c'", 'vmdk')]],
  ['only a disk that is left out', [disk('vdb', "file='/v/b'")]],
])('a domain with %s is not read while it is off', (_what, disks) => {
  expect(offlineMachine(machine, definition(...disks), null)).toBeNull()
})

test('whose libvirt names its disks goes with the machine, and is no key of its address', () => {
  const named = definition(disk('vda', "file='/v/a.qcow2'"))
  const theirs = offlineMachine(machine, named, { uid: 4711, gids: [4712] })!
  expect(keysOf(theirs).disks[0]).toMatchObject({ reader: { uid: 4711, gids: [4712] } })
  const own = offlineMachine(machine, named, null)!
  expect(own.keys).not.toHaveProperty('reader')
  expect(theirs.address).toBe(own.address)
})
