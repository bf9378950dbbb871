// A domain as it is defined where it was restored: what is its own stays, and nothing of its host or of the machine that it was.
import { expect, test } from 'vitest'
import { planDomain, type DomainPlan, type DomainWishes } from '../../../agent/define/domain.ts'
import { attributeOf, childrenOf, elementAt, readXml, textAt } from '../../../agent/libvirt/xml.ts'

const UUID = '6a1f0a5e-54f7-4a3a-8f0e-2b1f37c1d111'
const NEW_UUID = '11111111-2222-4333-8444-555555555555'

const plan = (xml: string, wishes: Partial<DomainWishes> = {}): DomainPlan =>
  planDomain(xml, {
    name: null,
    newIds: false,
    disks: new Map([['vda', { path: '/srv/new folder/vda.qcow2', format: 'qcow2' }]]),
    files: new Map(),
    folder: '/srv/new folder',
    isHere: (path) => path.startsWith('/usr/') || path.startsWith('/dev/'),
    newUuid: () => NEW_UUID,
    newMac: () => '52:54:00:aa:bb:cc',
    ...wishes,
  })

const domain = ({ devices = '', os = '', more = '', disk = '' }): string =>
  `<domain type='kvm' id='7' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>db1</name><uuid>${UUID}</uuid><memory unit='KiB'>1048576</memory><vcpu placement='static' cpuset='0-3'>2</vcpu>${more}
  <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type>${os}</os>
  <devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='network' device='disk' rawio='yes'><driver name='qemu' type='raw' cache='none' discard='unmap' evil='1'/>
      <auth username='me'><secret type='ceph' uuid='${UUID}'/></auth>
      <source protocol='rbd' name='pool/x' index='1'><host name='ceph' port='6789'/></source>
      <backingStore type='file'><format type='qcow2'/><source file='/old/base'/></backingStore><mirror type='file'/>
      <target dev='vda' bus='virtio'/><serial>S1</serial><boot order='1'/>${disk}
      <address type='pci' domain='0x0000' bus='0x04' slot='0x00' function='0x0'/></disk>${devices}
  </devices></domain>`

const devicesOf = (xml: string, name: string) =>
  childrenOf(elementAt(readXml(xml, { root: 'domain' }), 'devices')!, name)

test('a disk is the restored file, and keeps what the guest sees of it', () => {
  const { xml, name, uuid, remarks } = plan(domain({}))
  expect({ name, uuid, remarks }).toEqual({ name: 'db1', uuid: UUID, remarks: [] })
  const [disk] = devicesOf(xml, 'disk')
  expect(
    childrenOf(disk!)
      .map((part) => part.name)
      .toSorted(),
  ).toEqual(['address', 'boot', 'driver', 'serial', 'source', 'target'].toSorted())
  expect(disk!.attributes).toEqual({ type: 'file', device: 'disk' })
  expect(elementAt(disk!, 'source')!.attributes).toEqual({ file: '/srv/new folder/vda.qcow2' })
  expect(elementAt(disk!, 'driver')!.attributes).toEqual({
    name: 'qemu',
    type: 'qcow2',
    cache: 'none',
    discard: 'unmap',
  })
  expect(xml).not.toMatch(/\/old|ceph|cpuset|placement|xmlns/u)
  // a second time it is the same
  expect(plan(xml)).toMatchObject({ name, uuid, xml })
})

test('name, uuid, MACs, and all places where they stand', () => {
  const xml = domain({
    more: `<genid>${UUID}</genid><sysinfo type='smbios'><system><entry name='uuid'>${UUID}</entry></system></sysinfo>`,
    devices: `<interface type='bridge'><mac address='52:54:00:00:00:01'/><source bridge='br0'/><target dev='vnet3'/><model type='virtio'/></interface>
      <interface type='network'><source network='default' portid='${UUID}'/></interface>`,
  })
  const moved = plan(xml, { name: 'a & b', newIds: true })
  expect(moved).toMatchObject({ name: 'a & b', uuid: NEW_UUID, macs: ['52:54:00:aa:bb:cc', '52:54:00:aa:bb:cc'] })
  expect(moved.xml).not.toMatch(new RegExp(`${UUID}|52:54:00:00|vnet3`, 'u'))
  expect(textAt(readXml(moved.xml, { root: 'domain' }), 'name')).toBe('a & b')
  expect(moved.remarks).toEqual(['it expects of this host: bridge "br0", network "default"'])
  const same = plan(xml)
  expect(same.macs).toEqual(['52:54:00:00:00:01'])
  // who is set back must see it
  expect(textAt(readXml(same.xml, { root: 'domain' }), 'genid')).toBe(NEW_UUID)
})

test('drives and disks that the point does not have', () => {
  const { xml, remarks } = plan(
    domain({
      devices: `<disk type='file' device='cdrom'><driver name='qemu' type='raw'/><source file='/iso/x.iso'/><target dev='sda'/><readonly/></disk>
        <disk type='block' device='disk'><source dev='/dev/sdb'/><target dev='vdz'/></disk>`,
    }),
    {
      disks: new Map([
        ['vda', { path: '/x/vda.raw', format: 'raw' }],
        ['vdq', { path: '/x/vdq.raw', format: 'raw' }],
      ]),
    },
  )
  expect(devicesOf(xml, 'disk').map((disk) => attributeOf(elementAt(disk, 'source'), 'file'))).toEqual([
    '/x/vda.raw',
    null,
  ])
  expect(remarks).toEqual([
    'drive sda had a medium in it: it is empty now',
    'disk vdz is not in the restore point: the machine comes without it',
    'disk vdq is restored, but the domain had no disk of that name',
  ])
})

test('firmware: that of this host, else the restored one; variables are the restored ones or begin anew', () => {
  const os = (loader: string): string =>
    `<loader readonly='yes' type='pflash'>${loader}</loader><nvram template='/usr/share/OVMF/VARS.fd'>/var/lib/libvirt/qemu/nvram/db1.fd</nvram>`
  const files = new Map([
    ['nvram', '/m/attachments/nvram'],
    ['pflash0', '/m/attachments/pflash0'],
  ])
  const firmware = (xml: string) => {
    const root = readXml(xml, { root: 'domain' })
    return [textAt(root, 'os/loader'), textAt(root, 'os/nvram')]
  }
  const here = '/usr/share/OVMF/CODE.fd'
  expect(firmware(plan(domain({ os: os(here) }), { files }).xml)).toEqual([here, '/m/attachments/nvram'])
  expect(firmware(plan(domain({ os: os('/opt/fw.fd') }), { files }).xml)).toEqual([
    '/m/attachments/pflash0',
    '/m/attachments/nvram',
  ])
  // no file of the host that is none of its firmware
  const bare = plan(domain({ os: os('/usr/share/../../etc/shadow') }))
  expect(firmware(bare.xml)).toEqual([null, '/srv/new folder/nvram.fd'])
  expect(bare.remarks).toHaveLength(2)
  // a reader that takes the text of what lies within, too
  const parted = plan(domain({ os: '<loader>/usr/share/<x>../../etc/shadow</x></loader>' }))
  expect(parted.xml).not.toMatch(/shadow/u)
})

test.for(["readonly='no' type='pflash'", "type='pflash'"])('the firmware of this host is not written: %s', (how) => {
  const os = (file: string): string => `<loader ${how}>${file}</loader>`
  const loaderOf = (xml: string) => elementAt(readXml(xml, { root: 'domain' }), 'os/loader')
  const shared = loaderOf(plan(domain({ os: os('/usr/share/OVMF/CODE.fd') })).xml)
  expect(shared?.attributes).toEqual({ readonly: 'yes', type: 'pflash' })
  // one of its own, in which its variables are too, stays as it was
  const files = new Map([['pflash0', '/m/attachments/pflash0']])
  const own = loaderOf(plan(domain({ os: os('/var/lib/fw/db1.fd') }), { files }).xml)
  expect(attributeOf(own, 'readonly')).toBe(how.includes('no') ? 'no' : null)
})

test.for([
  ['/usr/bin/qemu-system-x86_64', '/usr/bin/qemu-system-x86_64'],
  ['/usr/libexec/qemu-kvm', '/usr/libexec/qemu-kvm'],
  ['/usr/bin/env', null],
  ['/usr/bin/../../tmp/qemu-kvm', null],
  // a reader that takes the text of what lies within, too
  ['/usr/<x>../tmp/</x>qemu-kvm', '/usr/qemu-kvm'],
] as const)('of the programs of this host, only a QEMU: %s', ([program, becomes]) => {
  const { xml } = plan(domain({}).replace('/usr/bin/qemu-system-x86_64', program))
  expect(textAt(readXml(xml, { root: 'domain' }), 'devices/emulator')).toBe(becomes)
  expect(xml).not.toMatch(/tmp/u)
})

test.for([
  ['<hostdev mode="subsystem" type="pci"><source><address bus="1"/></source></hostdev>', /device of the host/u],
  ['<filesystem type="mount"><source dir="/"/><target dir="x"/></filesystem>', /shared folder/u],
  ['<serial type="file"><source path="/etc/cron.d/x"/><log file="/etc/x"/></serial>', /terminal now/u],
  ['<channel type="unix"><source mode="connect" path="/run/evil"/><target type="virtio" name="x"/></channel>', null],
  ['<channel type="pipe"><source path="/run/evil"/><target type="virtio" name="x"/></channel>', /channel x/u],
  ['<interface type="ethernet"><script path="/tmp/evil"/></interface>', /network card/u],
  [
    '<interface type="bridge"><source bridge="b"/><script path="/tmp/evil"/><backend tap="/dev/evil"/></interface>',
    /expects/u,
  ],
  [
    '<graphics type="vnc" port="5901" listen="0.0.0.0" socket="/evil"><listen type="address" address="0.0.0.0"/></graphics>',
    /127/u,
  ],
  ['<rng model="virtio"><backend model="random">/etc/shadow</backend></rng>', null],
  ['<rng model="virtio"><backend model="random">/dev/urandom<x>/../evil</x></backend></rng>', null],
  ['<redirdev bus="usb" type="spicevmc"><log file="/etc/evil" append="on"/></redirdev>', null],
  ['<tpm model="tpm-tis"><backend type="passthrough"><device path="/dev/tpm0"/></backend></tpm>', /TPM/u],
  ['<input type="passthrough"><source evdev="/dev/input/event0"/></input>', /input/u],
  ['<audio id="1" type="file" path="/etc/evil"/>', null],
  ['<memory model="nvdimm"><source><path>/etc/shadow</path></source></memory>', /memory/u],
  ['<unheard-of path="/etc/evil"/>', /<unheard-of> is left out/u],
  ['<disk type="file" device="disk"><source file="/etc/shadow"/></disk>', /not in the restore point/u],
] as const)('nothing of the host comes with %s', ([devices, says]) => {
  const { xml, remarks } = plan(domain({ devices }))
  expect(xml).not.toMatch(/evil|\/etc|hostdev|"\/"|event0|0\.0\.0\.0|\/dev\/tpm0|ethernet|5901/u)
  if (says === null) expect(remarks).toEqual([])
  else expect(remarks.join('\n')).toMatch(says)
})

test.for([
  "<qemu:commandline><qemu:arg value='-fsdev'/></qemu:commandline>",
  "<seclabel type='none'/>",
  "<sysinfo type='fwcfg'><entry name='opt/x' file='/etc/shadow'/></sysinfo>",
  "<cputune><vcpupin vcpu='0' cpuset='63'/></cputune>",
  "<numatune><memory nodeset='7'/></numatune>",
  '<os><type>hvm</type><kernel>/etc/shadow</kernel></os>',
])('nor with %s', (more) => {
  const { xml } = plan(domain({ more }))
  expect(xml).not.toMatch(/fsdev|seclabel|shadow|63|nodeset/u)
})

test.for([
  ['<domain/>', 'type'],
  ["<domain type='lxc'/>", 'type'],
  ["<domain type='kvm'><name>x</name></domain>", '<os>'],
  ["<!DOCTYPE x [<!ENTITY a 'b'>]><domain type='kvm'/>", 'document type'],
  [`<domain type='kvm'>${'<a>'.repeat(100)}`, 'nested'],
  ['not xml', 'domain.xml'],
  [domain({}).replace('<name>db1</name>', '<name>../x</name>'), 'name'],
  [domain({ devices: "<interface type='user'><mac address='; rm'/></interface>" }), 'MAC'],
])('%s is refused', ([xml, says]) => {
  expect(() => plan(xml!)).toThrow(expect.objectContaining({ code: 'DATA_DAMAGED' }))
  expect(() => plan(xml!)).toThrow(says === 'domain.xml' ? /<domain>/u : says)
})

test('a name that no domain can have is the one who names it’s fault', () => {
  expect(() => plan(domain({}), { name: 'a/b' })).toThrow(expect.objectContaining({ code: 'PARAMS_INVALID' }))
})
