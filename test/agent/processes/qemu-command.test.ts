// Command lines of QEMU as programs and people write them, and what is read from each.
import { expect, test } from 'vitest'
import { readCommand } from '../../../agent/processes/qemu-command.ts'

const UUID = '3f2a91c0-9d2e-4c58-8f6a-0b7c61d5e214'
const read = (line: string): ReturnType<typeof readCommand> =>
  readCommand(line.split(/\s+/u).filter((word) => word !== ''))
const paths = (line: string): unknown => read(line).monitors.map(({ path, closed }) => closed ?? path)

test.each([
  ['-qmp unix:/run/a.qmp,server=on,wait=off', '/run/a.qmp'],
  ['--qmp unix:/run/a.qmp,server,nowait', '/run/a.qmp'],
  ['-qmp-pretty unix:a.qmp,server=on', 'a.qmp'],
  ['-qmp unix:/run/a,,b.qmp,server=on', '/run/a,b.qmp'],
  ['-chardev socket,id=m,path=/run/a.qmp,server=on,wait=off -mon chardev=m,mode=control', '/run/a.qmp'],
  ['-mon m,mode=control,pretty=on -chardev socket,id=m,path=/run/a.qmp,server', '/run/a.qmp'],
  ['-chardev socket,id=m,path=/run/a.qmp,server=on -qmp chardev:m', '/run/a.qmp'],
  ['-chardev {"backend":"socket","id":"m","path":"/run/a.qmp","server":true} -mon m,mode=control', '/run/a.qmp'],
  ['-qmp tcp:localhost:4444,server=on,wait=off', 'is a network port, which anyone may connect to, and no UNIX socket'],
  ['-qmp stdio', 'is no socket (stdio)'],
  ['-qmp unix:/run/a.qmp', 'connects to another program by itself'],
  ['-chardev socket,id=m,path=a,abstract=on,server=on -mon m,mode=control', 'is an abstract socket, without a file'],
  ['-chardev socket,id=m,fd=22,server=on -mon m,mode=control', 'was handed over by the program that started it'],
  ['-mon nothing,mode=control', 'is no socket (unknown)'],
])('monitor: %s', (line, expected) => {
  expect(paths(line)).toEqual([expected])
})

test('a monitor for people is none for programs', () => {
  const line = '-monitor unix:/run/hmp.sock,server=on,wait=off -chardev socket,id=h,path=/x,server=on -mon chardev=h'
  expect(read(line)).toMatchObject({ monitors: [], hasHumanMonitor: true })
  expect(read('-monitor none')).toMatchObject({ monitors: [], hasHumanMonitor: false })
})

test('names, uuids and files of options', () => {
  expect(read(`-name guest=db1,debug-threads=on -uuid ${UUID.toUpperCase()}`)).toMatchObject({
    name: 'db1',
    uuid: UUID,
  })
  expect(read(`-name db1 -smbios type=1,uuid=${UUID}`)).toMatchObject({ name: 'db1', uuid: UUID })
  expect(read('-uuid 00000000-0000-0000-0000-000000000000')).toMatchObject({ name: null, uuid: null })
  expect(read('-readconfig /etc/vm.cfg')).toMatchObject({ optionFiles: ['/etc/vm.cfg'] })
  expect(readCommand(['-name', 'two words, and more'])).toMatchObject({ name: 'two words' })
})

test('the guest agent is the socket of its port', () => {
  const socket = '-chardev socket,path=/run/a.qga,server=on,wait=off,id=qga0'
  expect(read(`${socket} -device virtserialport,chardev=qga0,name=org.qemu.guest_agent.0`).guestAgent).toBe(
    '/run/a.qga',
  )
  expect(read(`${socket} -device virtserialport,chardev=qga0,name=com.redhat.spice.0`).guestAgent).toBe(null)
  const json = '{"driver":"virtserialport","chardev":"qga0","name":"org.qemu.guest_agent.0"}'
  expect(read(`${socket} -device ${json}`).guestAgent).toBe('/run/a.qga')
})

test('a value that is missing does not swallow the next option', () => {
  expect(read('-S -qmp -name db1 -daemonize')).toMatchObject({ name: 'db1' })
  expect(read('-name')).toMatchObject({ name: null })
  expect(readCommand([])).toMatchObject({ name: null, monitors: [], disks: [] })
})

test('a machine of Proxmox VE', () => {
  const found = read(
    `-id 100 -name web,debug-threads=on -no-shutdown -chardev socket,id=qmp,path=/var/run/qemu-server/100.qmp,server=on,wait=off
     -mon chardev=qmp,mode=control -chardev socket,id=qmp-event,path=/var/run/qmeventd.sock,reconnect=5
     -mon chardev=qmp-event,mode=control -pidfile /var/run/qemu-server/100.pid -daemonize -smbios type=1,uuid=${UUID}
     -drive file=/dev/pve/vm-100-disk-0,if=none,id=drive-scsi0,format=raw,cache=none,aio=io_uring
     -device scsi-hd,bus=virtioscsi0.0,drive=drive-scsi0,id=scsi0,bootindex=100`,
  )
  expect(found).toMatchObject({ name: 'web', uuid: UUID, manager: { kind: 'proxmox', id: '100' } })
  expect(found.disks).toEqual([{ name: 'scsi0', path: '/dev/pve/vm-100-disk-0', format: 'raw' }])
})

test('a machine of libvirt', () => {
  const found = read(
    `-name guest=bench,debug-threads=on -S -object {"qom-type":"secret","id":"masterKey0","format":"raw","file":"/x/master-key.aes"}
     -chardev socket,id=charmonitor,fd=22,server=on,wait=off -mon chardev=charmonitor,id=monitor,mode=control -uuid ${UUID}
     -blockdev {"driver":"file","filename":"/img/d.qcow2","node-name":"libvirt-1-storage","auto-read-only":true}
     -blockdev {"node-name":"libvirt-1-format","read-only":false,"driver":"qcow2","file":"libvirt-1-storage","backing":null}
     -device virtio-blk-pci,bus=pci.0,addr=0x4,drive=libvirt-1-format,id=virtio-disk0,bootindex=1`,
  )
  expect(found).toMatchObject({ name: 'bench', uuid: UUID, manager: { kind: 'libvirt' } })
  expect(found.disks).toEqual([{ name: 'virtio-disk0', path: '/img/d.qcow2', format: 'qcow2' }])
})
