// Every shape of storage that a QEMU machine has: held exactly and incrementally, left out with a reason, or refused by name.
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { Lease } from '../../../../agent/drivers/driver.ts'
import { refusalOf } from '../../../../agent/qmp/disk-devices.ts'
import { asBase, dirtyRanges, LeaseBench, MIB } from '../../../support/lease.ts'
import { run } from '../../../support/run.ts'
import { DiskServer } from '../../../support/shape-server.ts'
import { tempFolder } from '../../../support/temp.ts'

const KIB64 = 65_536
const SIZE = 4 * MIB

/** Words without spaces in them, as a shell takes them. */
const words = (text: string): string[] => text.split(' ')

const node = (options: object): string[] => ['-blockdev', JSON.stringify(options)]
const image = (driver: string, name: string, filename: string, more: object = {}): object => ({
  driver,
  'node-name': name,
  file: { driver: 'file', filename },
  ...more,
})
const create = async (...args: readonly string[]): Promise<void> => {
  await run('qemu-img', ['create', '-q', ...args])
}

interface Shape {
  /** The disk's name. */
  readonly disk: string
  /** Where QEMU has the device that the guest writes through. */
  readonly device: string
  readonly args: readonly string[]
}

const virtio = (disk: string, ...args: readonly string[]): Shape => ({
  disk,
  device: `/machine/peripheral/${disk}/virtio-backend`,
  args: [...args, '-device', `virtio-blk-pci,drive=${disk},id=${disk}`],
})

/** Makes the images; disks of 4 MiB that can all be held. */
const heldShapes = async (folder: string): Promise<readonly Shape[]> => {
  const at = (name: string): string => join(folder, name)
  await writeFile(at('key'), 'a passphrase')
  const secret = `secret,id=key,file=${at('key')}`
  const luks = 'encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=10'
  for (const name of ['throttled', 'copied', 'scsi0', 'nvme1']) await create('-f', 'qcow2', at(name), String(SIZE))
  for (const name of ['base', 'served', 'scsi5', 'nvme2']) await create('-f', 'raw', at(name), String(SIZE))
  await run('qemu-io', ['-f', 'raw', '-c', `write -P 0x77 ${3 * MIB} 64k`, at('base')])
  await create('--object', secret, '-f', 'qcow2', '-o', luks, at('luks'), String(SIZE))
  await create('-f', 'qcow2', '-o', `data_file=${at('data')}`, at('parted'), String(SIZE))
  await create('-f', 'qcow2', '-b', at('base'), '-F', 'raw', at('middle'))
  await create('-f', 'qcow2', '-b', at('middle'), '-F', 'qcow2', at('chain'))
  const filtered = (driver: string, name: string, more: object): object => ({
    driver,
    'node-name': name,
    file: image('qcow2', `${name}-image`, at(name)),
    ...more,
  })
  const nbd = { driver: 'nbd', server: { type: 'unix', path: at('nbd') }, export: 'disk' }
  const inside = (disk: string, ...args: readonly string[]): Shape => ({
    disk,
    device: `/machine/peripheral/${disk}`,
    args,
  })
  return [
    virtio(
      'throttled',
      ...words('-object throttle-group,id=group,x-bps-total=1000000000'),
      ...node(filtered('throttle', 'throttled', { 'throttle-group': 'group' })),
    ),
    virtio('copied', ...node(filtered('copy-on-read', 'copied', {}))),
    virtio(
      'luks',
      ...words(`-object ${secret}`),
      ...node(image('qcow2', 'luks', at('luks'), { encrypt: { format: 'luks', 'key-secret': 'key' } })),
    ),
    virtio('parted', ...node(image('qcow2', 'parted', at('parted')))),
    virtio('chain', ...node(image('qcow2', 'chain', at('chain')))),
    virtio('network', ...node({ driver: 'raw', 'node-name': 'network', file: nbd })),
    inside(
      'scsi0',
      ...words('-device virtio-scsi-pci,id=hba'),
      ...node(image('qcow2', 's0', at('scsi0'))),
      ...words('-device scsi-hd,bus=hba.0,scsi-id=0,lun=0,drive=s0,id=scsi0'),
    ),
    inside(
      'scsi5',
      ...node(image('raw', 's5', at('scsi5'))),
      ...words('-device scsi-hd,bus=hba.0,scsi-id=0,lun=5,drive=s5,id=scsi5'),
    ),
    inside(
      'nvme1',
      ...words('-device nvme,serial=nvme,id=nvme'),
      ...node(image('qcow2', 'n1', at('nvme1'))),
      ...words('-device nvme-ns,bus=nvme,nsid=1,drive=n1,id=nvme1'),
    ),
    inside(
      'nvme2',
      ...node(image('raw', 'n2', at('nvme2'))),
      ...words('-device nvme-ns,bus=nvme,nsid=2,drive=n2,id=nvme2'),
    ),
  ]
}

const reads = ({ disks }: Lease): string[] => disks.map(({ name, kind, reason }) => `${name} ${kind} ${reason}`)

test('filters, encryption, a data file, a chain, a network disk, LUNs and namespaces: exact, and increments thereafter', async () => {
  await using folder = await tempFolder()
  const shapes = await heldShapes(folder.path)
  await using _server = await DiskServer.nbd(folder.join('served'), folder.join('nbd'))
  await using bench = new LeaseBench(folder.path, [])
  await bench.machine.start({ extra: shapes.flatMap(({ args }) => args) })
  await using agent = await bench.agent()
  const model = new Map(shapes.map(({ disk }) => [disk, Buffer.alloc(SIZE)]))
  model.get('chain')?.fill(0x77, 3 * MIB, 3 * MIB + KIB64)
  const write = async (pattern: number, offset: number): Promise<void> => {
    for (const { disk, device } of shapes) {
      await bench.machine.guestIo(device, `write -P ${pattern} ${offset} ${KIB64}`)
      model.get(disk)?.fill(pattern, offset, offset + KIB64)
    }
  }
  const expectHeld = async (lease: Lease, expected: ReadonlyMap<string, Buffer>): Promise<void> => {
    for (const disk of lease.disks)
      expect((await bench.content(disk)).equals(expected.get(disk.name)!), disk.name).toBe(true)
  }
  const names = shapes.map(({ disk }) => disk)
  const copy = (): ReadonlyMap<string, Buffer> => new Map([...model].map(([name, bytes]) => [name, Buffer.from(bytes)]))

  await write(0x11, 0)
  const atFull = copy()
  const full = await agent.driver.begin(bench.request())
  await write(0x22, MIB)
  expect(reads(full).toSorted()).toEqual(names.map((name) => `${name} full first`).toSorted())
  expect(full.leftOut).toEqual([])
  await expectHeld(full, atFull)
  await full.end('committed')

  const atNext = copy()
  const next = await agent.driver.begin(bench.request({ base: asBase(full) }))
  await write(0x33, 0)
  expect(reads(next).toSorted()).toEqual(names.map((name) => `${name} incremental bitmap`).toSorted())
  for (const disk of next.disks) expect(await dirtyRanges(disk), disk.name).toEqual([{ offset: MIB, length: KIB64 }])
  await expectHeld(next, atNext)
  await next.end('failed')
})

test('CD-ROMs, floppies, read-only disks and second devices are left out with the reason; an empty drive is no disk', async () => {
  await using folder = await tempFolder()
  const at = (name: string): string => folder.join(name)
  for (const name of ['vda', 'cd', 'rewritable', 'fixed', 'floppy'])
    await create('-f', 'raw', at(name), name === 'floppy' ? '1440K' : String(MIB))
  await using bench = new LeaseBench(folder.path, [])
  const args = [
    ...node(image('raw', 'vda', at('vda'))),
    ...words('-device virtio-blk-pci,drive=vda,id=vda,share-rw=on -device virtio-scsi-pci,id=hba'),
    ...words('-device virtio-blk-pci,drive=vda,id=again,share-rw=on'),
    ...words(`-drive if=none,media=cdrom,format=raw,file=${at('cd')},id=cd -device ide-cd,drive=cd,id=cd`),
    // its node can be written, its medium cannot
    ...node(image('raw', 'rw', at('rewritable'))),
    ...words('-device scsi-cd,bus=hba.0,drive=rw,id=rewritable'),
    ...words('-device scsi-cd,bus=hba.0,id=empty'),
    ...node(image('raw', 'fixed', at('fixed'), { 'read-only': true })),
    ...words('-device virtio-blk-pci,drive=fixed,id=fixed'),
    ...node(image('raw', 'fl', at('floppy'))),
    ...words('-device isa-fdc,id=fdc -device floppy,bus=fdc.0,drive=fl,id=floppy'),
  ]
  await bench.machine.start({ extra: args })
  await using agent = await bench.agent()
  const lease = await agent.driver.begin(bench.request())
  expect(reads(lease)).toEqual(['vda full first'])
  const reasons = lease.leftOut.map(({ name, reason }) => `${name} ${reason}`).toSorted()
  expect(reasons).toEqual([
    'again same-disk',
    'cd read-only',
    'fixed read-only',
    'floppy floppy',
    'rewritable read-only',
  ])
  await lease.end('failed')
  const refused = agent.driver.begin(bench.request({ refuseLeftOut: ['floppy'] }))
  await expect(refused).rejects.toMatchObject({ code: 'DISK_LEFT_OUT', details: { disk: 'floppy', reason: 'floppy' } })
})

test('a disk that others write too, or that another program has, is refused by name, and can be excluded', async () => {
  await using folder = await tempFolder()
  const at = (name: string): string => folder.join(name)
  for (const name of ['vda', 'cluster', 'outside']) await create('-f', 'raw', at(name), String(MIB))
  const exported = `type=vhost-user-blk,id=e,node-name=f,writable=on,addr.type=unix,addr.path=${at('vhost')}`
  const storage = ['--blockdev', `driver=file,node-name=f,filename=${at('outside')}`, '--export', exported]
  await using _server = await DiskServer.start('qemu-storage-daemon', storage, at('vhost'))
  await using bench = new LeaseBench(folder.path, [])
  const args = [
    ...node(image('raw', 'vda', at('vda'))),
    ...words('-device virtio-blk-pci,drive=vda,id=vda'),
    ...node(image('raw', 'cluster', at('cluster'))),
    ...words('-device virtio-blk-pci,drive=cluster,id=cluster,share-rw=on'),
    ...words('-object memory-backend-memfd,id=memory,size=64M,share=on -numa node,memdev=memory'),
    ...words(`-chardev socket,id=c,path=${at('vhost')} -device vhost-user-blk-pci,chardev=c,id=outside`),
  ]
  await bench.machine.start({ extra: args })
  await using agent = await bench.agent()
  for (const [disk, exclude, why] of [
    ['cluster', [], /share-rw/u],
    ['outside', ['cluster'], /vhost-user-blk/u],
  ] as const) {
    const refused = agent.driver.begin(bench.request({ exclude }))
    const message = expect.stringMatching(new RegExp(`^disk ${disk} .*${why.source}.*"exclude"`, 'u'))
    await expect(refused).rejects.toMatchObject({ code: 'DISK_UNSUPPORTED', details: { disk }, message })
  }
  const lease = await agent.driver.begin(bench.request({ exclude: ['cluster', 'outside'] }))
  expect(reads(lease)).toEqual(['vda full first'])
  expect(lease.leftOut.map(({ name, reason }) => `${name} ${reason}`).toSorted()).toEqual([
    'cluster excluded',
    'outside excluded',
  ])
  await lease.end('failed')
})

test.each([
  ['scsi-block', false, 'raw', /scsi-block.*scsi-hd/u],
  ['scsi-generic', false, 'raw', /scsi-generic.*scsi-hd/u],
  ['virtio-blk-device', true, 'raw', /share-rw/u],
])('a %s (shared: %s) of %s is refused', (type, shared, format, why) => {
  expect(refusalOf({ type, shared }, format)).toMatch(why)
})
