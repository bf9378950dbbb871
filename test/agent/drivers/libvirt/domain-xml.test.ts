// A domain's XML as the driver reads it. Goal: every disk is in one list or the other, and no document makes the reader fail but
// as one that cannot be read. Method: documents as libvirt writes them, odd ones, and generated ones.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { readDomain } from '../../../../agent/drivers/libvirt/domain-xml.ts'
import { xml, type Xml } from '../../../../agent/libvirt/xml.ts'
import { DISKS_MAX } from '../../../../agent/qmp/disks.ts'

const UUID = '12345678-9abc-def0-1234-56789abcdef0'

const domain = (devices: Xml, more: Xml = xml``): string =>
  xml`<domain type='kvm' id='3'><name>db &amp; 1</name><uuid>${UUID}</uuid><memory unit='KiB'>65536</memory>
<vcpu placement='static'>2</vcpu><os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os>
<devices>${devices}</devices>${more}</domain>`.text

test('what a running domain is', () => {
  const label = xml`<seclabel type='dynamic' model='apparmor'><label>libvirt-x</label></seclabel>
<seclabel type='dynamic' model='dac' relabel='yes'><label>+64055:+64056</label></seclabel>`
  const agent = xml`<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0' state='connected'/></channel>`
  expect(readDomain(domain(agent, label))).toEqual({
    name: 'db & 1',
    uuid: UUID,
    disks: [],
    leftOut: [],
    refused: [],
    owner: { uid: 64_055, gid: 64_056 },
    hasGuestAgent: true,
    guestAgentSocket: null,
    configuration: {
      name: 'db & 1',
      uuid: UUID,
      cpuCount: 2,
      architecture: 'x86_64',
      memoryBytes: 64 * 1024 * 1024,
      machineType: 'pc-q35-7.2',
    },
  })
})

test('the socket of the guest’s agent is one that QEMU listens on, by its whole path', () => {
  const socketOf = (source: Xml): string | null =>
    readDomain(
      domain(xml`<channel type='unix'>${source}<target type='virtio' name='org.qemu.guest_agent.0'/></channel>`),
    ).guestAgentSocket
  expect(socketOf(xml`<source mode='bind' path='/run/t/agent'/>`)).toBe('/run/t/agent')
  expect(socketOf(xml`<source mode='connect' path='/run/t/agent'/>`)).toBe(null)
  expect(socketOf(xml`<source mode='bind' path='agent'/>`)).toBe(null)
  expect(socketOf(xml`<source mode='bind'/>`)).toBe(null)
})

test('a file with what lies below it, a device and a disk of the network', () => {
  const disks = xml`
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/v/a "b".qcow2' index='4'/>
  <backingStore type='file'><format type='raw'/><source file='/v/base.img'/>
    <backingStore type='block'><format type='qcow2'/><source dev='/dev/vg/x'/><backingStore/></backingStore></backingStore>
  <target dev='vda' bus='virtio'/></disk>
<disk type='block' device='disk'><source dev='/dev/vg/b'/><target dev='sdb'/></disk>
<disk type='network' device='disk'><driver type='raw'/><source protocol='rbd' name='pool/c'><host name='mon' port='6789'/></source>
  <target dev='vdc'/></disk>`
  expect(readDomain(domain(disks)).disks).toEqual([
    {
      name: 'vda',
      format: 'qcow2',
      fileName: '/v/a "b".qcow2',
      path: '/v/a "b".qcow2',
      index: 4,
      backing: [
        { format: 'raw', fileName: '/v/base.img', size: 0 },
        { format: 'qcow2', fileName: '/dev/vg/x', size: 0 },
      ],
    },
    { name: 'sdb', format: 'raw', fileName: '/dev/vg/b', path: '/dev/vg/b', index: null, backing: [] },
    { name: 'vdc', format: 'raw', fileName: 'rbd pool/c mon:6789', path: null, index: null, backing: [] },
  ])
})

test('disks of the network and of controllers that QEMU drives are told apart', () => {
  const disks = xml`
<disk type='network'><source protocol='nbd' name='d'><host transport='unix' socket='/run/a'/></source><target dev='vda'/></disk>
<disk type='network'><source protocol='nbd' name='d'><host transport='unix' socket='/run/b'/></source><target dev='vdb'/></disk>
<disk type='nvme'><source type='pci' namespace='1'><address bus='0x01' slot='0x0'/></source><target dev='vdc'/></disk>
<disk type='nvme'><source type='pci' namespace='1'><address bus='0x02' slot='0x0'/></source><target dev='vdd'/></disk>`
  const names = readDomain(domain(disks)).disks.map(({ fileName }) => fileName)
  expect(new Set(names).size).toBe(4)
})

test('what cannot be written is left out, and an empty drive is no disk', () => {
  const disks = xml`
<disk device='cdrom'><target dev='sda'/></disk>
<disk device='cdrom'><source file='/v/cd.iso'/><target dev='sdb'/><readonly/></disk>
<disk device='disk'><source file='/v/ro.img'/><target dev='vda'/><readonly/></disk>
<disk device='floppy'><source file='/v/f.img'/><target dev='fda'/></disk>`
  const { disks: read, leftOut } = readDomain(domain(disks))
  expect(leftOut).toEqual([
    { name: 'sdb', reason: 'read-only' },
    { name: 'vda', reason: 'read-only' },
    { name: 'fda', reason: 'floppy' },
  ])
  expect(read).toEqual([])
})

test('a disk that is written past QEMU, or by others too, is refused while it runs and has its file for when it is off', () => {
  const disks = xml`
<disk type='block' device='lun'><source dev='/dev/sdx'/><target dev='sda'/></disk>
<disk type='file' device='disk'><source file='/v/cluster.img'/><target dev='vda'/><shareable/></disk>
<disk type='vhostuser' device='disk'><source type='unix' path='/run/spdk'/><target dev='vdb'/></disk>`
  const { disks: read, refused } = readDomain(domain(disks))
  expect(read).toEqual([])
  expect(refused).toMatchObject([
    { name: 'sda', path: '/dev/sdx', why: expect.stringContaining('device="lun"') },
    { name: 'vda', path: '/v/cluster.img', why: expect.stringContaining('<shareable/>') },
    { name: 'vdb', path: null, why: expect.stringContaining('type="vhostuser"') },
  ])
})

test(`more than ${DISKS_MAX} disks are refused`, () => {
  const many = (count: number): Xml =>
    xml`${Array.from({ length: count }, (_, index) => xml`<disk><source file='/v/${index}'/><target dev='v${index}'/></disk>`)}`
  expect(readDomain(domain(many(DISKS_MAX))).disks.length).toBe(DISKS_MAX)
  expect(() => readDomain(domain(many(DISKS_MAX + 1)))).toThrow(expect.objectContaining({ code: 'DISK_UNSUPPORTED' }))
})

test.each([
  ['<memory>1024</memory>', 1024 * 1024],
  ["<memory unit='GiB'>2</memory>", 2 * 2 ** 30],
  ["<memory unit='MB'>3</memory>", 3_000_000],
  ["<memory unit='furlongs'>3</memory>", null],
  ['<memory>9007199254740993</memory>', null],
  ['<memory>much</memory>', null],
])('%s', (memory, bytes) => {
  expect(readDomain(`<domain><name>a</name>${memory}</domain>`).configuration['memoryBytes']).toBe(bytes)
})

test.each([
  ['no label', '', null],
  ['a label of names', "<seclabel model='dac'><label>qemu:qemu</label></seclabel>", null],
  ['a label that is huge', "<seclabel model='dac'><label>+99999999999:+1</label></seclabel>", null],
  ['a label without plus signs', "<seclabel model='dac'><label>107:107</label></seclabel>", { uid: 107, gid: 107 }],
])('the owner by %s', (_what, label, owner) => {
  expect(readDomain(`<domain><name>a</name>${label}</domain>`).owner).toEqual(owner)
})

test('a domain that says nothing is read, another document is not', () => {
  expect(readDomain('<domain/>')).toMatchObject({ name: '', uuid: '', disks: [], leftOut: [], hasGuestAgent: false })
  for (const text of ['', '<network/>', '<domain>', '<!DOCTYPE domain><domain/>', `<domain>${'<a>'.repeat(100_000)}`])
    expect(() => readDomain(text)).toThrow(expect.objectContaining({ code: 'LIBVIRT_PROTOCOL' }))
})

test('any elements in any place are read, or refused as what cannot be', () => {
  const names = fc.constantFrom(
    'disk',
    'source',
    'target',
    'devices',
    'domain',
    'backingStore',
    'seclabel',
    'label',
    'memory',
  )
  const attributes = fc.dictionary(
    fc.constantFrom('file', 'dev', 'index', 'device', 'model', 'unit', 'type'),
    fc.string(),
    {
      maxKeys: 3,
    },
  )
  const element = (depth: number): fc.Arbitrary<string> =>
    fc
      .tuple(names, attributes, depth === 0 ? fc.constant([]) : fc.array(element(depth - 1), { maxLength: 3 }))
      .map(([name, own, children]) => {
        const written = Object.entries(own).map(([key, value]) => ` ${key}="${value.replaceAll(/[^\w/.:+-]/g, '')}"`)
        return `<${name}${written.join('')}>${children.join('')}</${name}>`
      })
  fc.assert(
    fc.property(element(4), (text) => {
      try {
        const { disks, leftOut } = readDomain(`<domain>${text}</domain>`)
        expect([...disks, ...leftOut].every(({ name }) => typeof name === 'string')).toBe(true)
      } catch (error) {
        expect(error).toMatchObject({ code: 'LIBVIRT_PROTOCOL' })
      }
    }),
  )
})
