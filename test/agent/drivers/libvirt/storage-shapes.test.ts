// Every shape of storage that a domain has: held exactly and incrementally, left out with a reason, or refused by name.
import { writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import type { Lease } from '../../../../agent/drivers/driver.ts'
import { xml, type Xml } from '../../../../agent/libvirt/xml.ts'
import { asBase, dirtyRanges, MIB } from '../../../support/lease.ts'
import { LibvirtBench, qcow2Disks } from '../../../support/libvirt-lease.ts'
import { startLibvirt, type TestLibvirt } from '../../../support/libvirt.ts'
import { humanCommand } from '../../../support/libvirt-calls.ts'
import { run } from '../../../support/run.ts'
import { DiskServer } from '../../../support/shape-server.ts'
import { tempFolder, type TempFolder } from '../../../support/temp.ts'

const KIB64 = 65_536
const SIZE = 4 * MIB
const SECRET = '5d0b2a4e-8a35-4a35-9d0c-6a1a3f8c7b10'

interface Shape {
  readonly disk: string
  /** QEMU's id of its device, and where below it the guest's writes go in. */
  readonly device: string
  readonly read: string
  readonly xml: Xml
}

const fileDisk = (target: string, format: string, file: string, more: Xml = xml``, bus = 'virtio'): Xml =>
  xml`<disk type='file' device='disk'><driver name='qemu' type='${format}'/><source file='${file}'/><target dev='${target}' bus='${bus}'/>${more}</disk>`

const heldShapes = async (folder: TempFolder, libvirt: TestLibvirt): Promise<readonly Shape[]> => {
  const at = (name: string): string => folder.join(name)
  const create = async (file: string, ...args: readonly string[]): Promise<void> => {
    await run('qemu-img', ['create', '-q', ...args])
    await libvirt.give(file)
  }
  await writeFile(at('key'), 'a passphrase')
  await writeFile(
    at('secret.xml'),
    `<secret ephemeral='yes' private='no'><uuid>${SECRET}</uuid><description>of a disk</description></secret>`,
  )
  await libvirt.virsh('secret-define', at('secret.xml'))
  await libvirt.virsh('secret-set-value', SECRET, Buffer.from('a passphrase').toString('base64'))
  const luks = 'encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=10'
  for (const name of ['throttled', 'scsi0']) await create(at(name), '-f', 'qcow2', at(name), String(SIZE))
  for (const name of ['base', 'served', 'scsi5']) await create(at(name), '-f', 'raw', at(name), String(SIZE))
  await run('qemu-io', ['-f', 'raw', '-c', `write -P 0x77 ${3 * MIB} 64k`, at('base')])
  const key = ['--object', `secret,id=key,file=${at('key')}`]
  await create(at('luks'), ...key, '-f', 'qcow2', '-o', luks, at('luks'), String(SIZE))
  await create(at('parted'), '-f', 'qcow2', '-o', `data_file=${at('data')}`, at('parted'), String(SIZE))
  await libvirt.give(at('data'))
  await create(at('chain'), '-f', 'qcow2', '-b', at('base'), '-F', 'raw', at('chain'))
  const lun = (unit: number): Xml =>
    xml`<address type='drive' controller='0' bus='0' target='0' unit='${String(unit)}'/>`
  const iotune = xml`<iotune><total_bytes_sec>1000000000</total_bytes_sec></iotune>`
  const bitmap = 'incremental bitmap'
  return [
    {
      disk: 'vdb',
      device: 'virtio-disk1/virtio-backend',
      read: bitmap,
      xml: fileDisk('vdb', 'qcow2', at('throttled'), iotune),
    },
    {
      disk: 'vdc',
      device: 'virtio-disk2/virtio-backend',
      read: bitmap,
      xml: xml`<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='${at('luks')}'><encryption format='luks'><secret type='passphrase' uuid='${SECRET}'/></encryption></source><target dev='vdc' bus='virtio'/></disk>`,
    },
    { disk: 'vdd', device: 'virtio-disk3/virtio-backend', read: bitmap, xml: fileDisk('vdd', 'qcow2', at('chain')) },
    {
      disk: 'vde',
      device: 'virtio-disk4/virtio-backend',
      read: 'full no-bitmap',
      xml: fileDisk('vde', 'qcow2', at('parted')),
    },
    {
      disk: 'vdf',
      device: 'virtio-disk5/virtio-backend',
      read: 'full no-bitmap',
      xml: xml`<disk type='network' device='disk'><driver name='qemu' type='raw'/><source protocol='nbd' name='disk'><host transport='unix' socket='${at('nbd')}'/></source><target dev='vdf' bus='virtio'/></disk>`,
    },
    {
      disk: 'sda',
      device: 'scsi0-0-0-0',
      read: bitmap,
      xml: fileDisk('sda', 'qcow2', at('scsi0'), lun(0), 'scsi'),
    },
    {
      disk: 'sdb',
      device: 'scsi0-0-0-5',
      read: 'full no-bitmap',
      xml: fileDisk('sdb', 'raw', at('scsi5'), lun(5), 'scsi'),
    },
  ]
}

const reads = ({ disks }: Lease): string[] =>
  disks.map(({ name, kind, reason }) => `${name} ${kind} ${reason}`).toSorted()

test('limits, encryption, a chain, a data file, a network disk and LUNs: exact, and increments where there are bitmaps', async () => {
  await using folder = await tempFolder()
  await using libvirt = await startLibvirt({ folder: folder.path })
  const shapes = await heldShapes(folder, libvirt)
  await using _server = await DiskServer.nbd(folder.join('served'), folder.join('nbd'))
  await libvirt.give(folder.join('nbd'))
  const devices = xml`<controller type='scsi' index='0' model='virtio-scsi'/>${shapes.map((shape) => shape.xml)}`
  const domain = await libvirt.startDomain({ name: 'db1', disks: qcow2Disks(folder.path, 1), devices })
  const bench = new LibvirtBench(folder.path, libvirt, domain)
  await using agent = await bench.agent()
  const model = new Map(shapes.map(({ disk }) => [disk, Buffer.alloc(SIZE)]))
  model.get('vdd')?.fill(0x77, 3 * MIB, 3 * MIB + KIB64)
  const write = async (pattern: number, offset: number): Promise<void> => {
    for (const { disk, device } of shapes) {
      const line = `qemu-io -d /machine/peripheral/${device} "write -P ${pattern} ${offset} ${KIB64}"`
      expect(await humanCommand(libvirt.control, domain.domain, line)).toBe('')
      model.get(disk)?.fill(pattern, offset, offset + KIB64)
    }
  }
  const expectHeld = async (lease: Lease, expected: ReadonlyMap<string, Buffer>): Promise<void> => {
    for (const disk of lease.disks.filter(({ name }) => expected.has(name)))
      expect((await bench.content(disk)).equals(expected.get(disk.name)!), disk.name).toBe(true)
  }
  const copy = (): ReadonlyMap<string, Buffer> => new Map([...model].map(([name, bytes]) => [name, Buffer.from(bytes)]))

  await write(0x11, 0)
  const atFull = copy()
  const full = await agent.driver.begin(bench.request())
  await write(0x22, MIB)
  expect(reads(full)).toEqual(['vda', ...shapes.map(({ disk }) => disk)].map((name) => `${name} full first`).toSorted())
  await expectHeld(full, atFull)
  await full.end('committed')

  const atNext = copy()
  const next = await agent.driver.begin(bench.request({ base: asBase(full) }))
  await write(0x33, 0)
  expect(reads(next)).toEqual(
    ['vda incremental bitmap', ...shapes.map(({ disk, read }) => `${disk} ${read}`)].toSorted(),
  )
  for (const disk of next.disks)
    if (disk.kind === 'incremental' && disk.name !== 'vda')
      expect(await dirtyRanges(disk), disk.name).toEqual([{ offset: MIB, length: KIB64 }])
  await expectHeld(next, atNext)
  await next.end('failed')
})

test('a disk that other domains may write is refused by name, and can be excluded', async () => {
  await using folder = await tempFolder()
  await using libvirt = await startLibvirt({ folder: folder.path })
  const cluster = folder.join('cluster')
  await run('qemu-img', ['create', '-q', '-f', 'raw', cluster, String(MIB)])
  await libvirt.give(cluster)
  const devices = fileDisk('vdb', 'raw', cluster, xml`<shareable/>`)
  const domain = await libvirt.startDomain({ name: 'db1', disks: qcow2Disks(folder.path, 1), devices })
  const bench = new LibvirtBench(folder.path, libvirt, domain)
  await using agent = await bench.agent()
  await expect(agent.driver.begin(bench.request())).rejects.toMatchObject({
    code: 'DISK_UNSUPPORTED',
    details: { disk: 'vdb' },
    message: expect.stringContaining('shareable'),
  })
  const lease = await agent.driver.begin(bench.request({ exclude: ['vdb'] }))
  expect([reads(lease), lease.leftOut]).toEqual([['vda full first'], [{ name: 'vdb', reason: 'excluded' }]])
  await lease.end('failed')
})
