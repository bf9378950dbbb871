// The disks of a command line: the names that a backup gives them, through nodes and filters, without removable media.
import { expect, test } from 'vitest'
import { disksOf } from '../../../agent/processes/command-disks.ts'
import { givenOf } from '../../../agent/processes/given-options.ts'

const disks = (...args: readonly string[]): unknown =>
  disksOf(givenOf(args)).map(({ name, path, format }) => [name, path, format].join(' ').trim())

test('nodes in both syntaxes, also through filters and a chain', () => {
  const file = { driver: 'file', filename: '/a.qcow2' }
  expect(
    disks(
      '-blockdev',
      JSON.stringify({ driver: 'qcow2', 'node-name': 'a', file }),
      '-device',
      'virtio-blk-pci,drive=a,id=vda',
    ),
  ).toEqual(['vda /a.qcow2 qcow2'])
  const chain = [
    '-blockdev',
    'driver=host_device,node-name=p,filename=/dev/vg/x',
    '-blockdev',
    'driver=raw,node-name=f,file=p',
    '-blockdev',
    'throttle,node-name=t,file=f,throttle-group=g',
  ]
  expect(disks(...chain, '-device', '{"driver":"scsi-hd","drive":"t"}')).toEqual(['t /dev/vg/x raw'])
})

test('drives, with and without a device, and disks of their own', () => {
  expect(disks('-drive', 'file=/a.qcow2,if=virtio', '-drive', 'file=/b,if=virtio,format=raw')).toEqual([
    'virtio0 /a.qcow2',
    'virtio1 /b raw',
  ])
  expect(disks('-drive', 'if=none,id=d0,file=/a,,b.img,format=qcow2', '-device', 'virtio-blk,drive=d0')).toEqual([
    'd0 /a,b.img qcow2',
  ])
  expect(disks('-nographic', '/disk.img', '-hdd', '/other.img')).toEqual(['ide0-hd0 /disk.img', 'ide1-hd1 /other.img'])
})

test('what is no disk of this host is none', () => {
  expect(disks('-cdrom', '/x.iso', '-drive', 'file=/y.iso,media=cdrom', '-drive', 'if=pflash,file=/code.fd')).toEqual(
    [],
  )
  expect(disks('-drive', 'file=rbd:pool/image,if=virtio', '-drive', 'file=nbd://host/x,if=virtio')).toEqual([])
  expect(disks('-blockdev', 'driver=nbd,node-name=n,server.type=inet', '-device', 'virtio-blk,drive=n')).toEqual([])
  expect(disks('-drive', 'if=none,id=c,file=/z.iso', '-device', 'ide-cd,drive=c')).toEqual([])
})

test('nodes that name each other end', () => {
  const round = ['-blockdev', 'driver=raw,node-name=a,file=b', '-blockdev', 'driver=raw,node-name=b,file=a']
  expect(disks(...round, '-device', 'virtio-blk,drive=a')).toEqual([])
})
