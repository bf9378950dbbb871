// How a machine of a point is started for a drill, by what the point tells of it.
import { expect, test } from 'vitest'
import { machineWords, type MachineSource } from '../../../agent/drill/machine-words.ts'
import { codeOf } from '../../gateway/auth/test-authority.ts'

const GIB = 1024 ** 3

const SOURCE: MachineSource = {
  machine: 'db1',
  domain: null,
  command: null,
  configuration: '{}',
  disks: new Map([
    ['vda', { file: 'disk0.qcow2', format: 'qcow2' }],
    ['sdb', { file: 'disk1.qcow2', format: 'qcow2' }],
  ]),
  files: new Map(),
  isHere: () => true,
}

const made = (rest: Partial<MachineSource>) => machineWords({ ...SOURCE, ...rest })

test('a command line keeps its size and devices', () => {
  const command =
    '/usr/bin/qemu-system-x86_64 -name guest=db1 -m size=4G,slots=2 -smp 8,sockets=1 -blockdev driver=qcow2,node-name=vda,file.driver=file,file.filename=/srv/a -device virtio-blk-pci,drive=vda,id=vda -netdev tap,id=n -device virtio-net-pci,netdev=n,mac=52:54:00:00:00:02 -device vfio-pci,host=01:00.0'
  const { program, words, size, remarks } = made({ command })
  expect(program).toBe('/usr/bin/qemu-system-x86_64')
  expect(size).toEqual({ memoryBytes: 4 * GIB, cpus: 8 })
  expect(words.join(' ')).toContain('file.filename=disk0.qcow2')
  expect(words.join(' ')).not.toContain('/srv/a')
  expect(remarks.join('\n')).toMatch(/vfio-pci is left out/u)
  expect(remarks.join('\n')).not.toMatch(/network/u)
  for (const [options, expected] of [
    ['', { memoryBytes: GIB / 8, cpus: 1 }],
    ['-m 512 -smp cores=2,threads=2', { memoryBytes: GIB / 2, cpus: 4 }],
    ['-m 1.5g -smp cpus=3', { memoryBytes: 1.5 * GIB, cpus: 3 }],
  ] as const)
    expect(made({ command: `kvm ${options}` }).size).toEqual(expected)
})

test('a domain gets what it needs to boot', () => {
  const domain = `<domain type='kvm'><name>db1</name><uuid>6a1f0a5e-54f7-4a3a-8f0e-2b1f37c1d111</uuid>
    <memory unit='GiB'>8</memory><currentMemory unit='KiB'>4194304</currentMemory><vcpu current='2'>4</vcpu>
    <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type><loader readonly='yes' type='pflash'>/usr/share/OVMF/x.fd</loader>
    <nvram>/var/lib/x</nvram></os><cpu mode='host-passthrough'/><clock offset='localtime'/>
    <devices><emulator>/usr/bin/evil</emulator>
    <disk type='file' device='disk'><target dev='vda' bus='virtio'/><serial>S1</serial></disk>
    <disk type='file' device='disk'><target dev='sdb' bus='scsi'/><boot order='1'/><address type='drive' controller='0' target='0' unit='3'/></disk>
    <disk type='file' device='disk'><target dev='vdc' bus='virtio'/></disk>
    <controller type='scsi' index='0' model='virtio-scsi'/>
    <interface type='bridge'><mac address='52:54:00:00:00:03'/><source bridge='br0'/><model type='virtio'/></interface>
    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
    <tpm model='tpm-crb'/><hostdev/></devices></domain>`
  const { program, words, size, remarks } = made({ domain, files: new Map([['nvram', 'nvram.fd']]) })
  expect(program).toBe('qemu-system-x86_64')
  expect(size).toEqual({ memoryBytes: 4 * GIB, cpus: 2 })
  const text = words.join(' ')
  for (const part of [
    '-machine pc-q35-7.2',
    '-cpu host',
    'if=pflash,unit=0,format=raw,readonly=on,file=/usr/share/OVMF/x.fd',
    'if=pflash,unit=1,format=raw,file=nvram.fd',
    '-rtc base=localtime',
    'virtio-blk,drive=disk0,serial=S1',
    'scsi-hd,bus=scsi0.0,channel=0,scsi-id=0,lun=3,drive=disk1,bootindex=1',
    'virtio-net-pci,mac=52:54:00:00:00:03',
    'name=org.qemu.guest_agent.0',
  ])
    expect(text).toContain(part)
  expect(text).not.toMatch(/evil|br0|\/var\/lib/u)
  expect(remarks.join('\n')).toMatch(/vdc is not in the restore point[^]*TPM[^]*devices of its host/u)
})

test('what is no machine is refused, and of nothing a guess is made', async () => {
  const wrong = (rest: Partial<MachineSource>) => codeOf(Promise.resolve().then(() => made(rest)))
  for (const rest of [
    { command: 'rm -rf /' },
    { domain: '<domain/>' },
    { domain: '<network/>' },
    { domain: "<domain><os><type arch='../x' machine='q35'>hvm</type></os><memory>1</memory><devices/></domain>" },
  ])
    await expect(wrong(rest)).resolves.toBe('DATA_DAMAGED')
  const { words, size, remarks } = made({ configuration: '{"cpuCount":3,"memoryBytes":2147483648}' })
  expect(size).toEqual({ memoryBytes: 2 * GIB, cpus: 3 })
  expect(words.join(' ')).toContain('if=virtio,format=qcow2,file=disk0.qcow2')
  expect(remarks.join('')).toMatch(/guessed/u)
})
