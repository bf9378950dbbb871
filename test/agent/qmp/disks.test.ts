// Disks and their names as a real QEMU shows them, and answers that are not QEMU's.
import { expect, test } from 'vitest'
import { pathOf } from '../../../agent/drivers/evidence.ts'
import { QmpClient, type QmpCaller } from '../../../agent/qmp/client.ts'
import { diskNames, listDisks } from '../../../agent/qmp/disks.ts'
import { startMachine } from '../../support/qemu.ts'
import { run } from '../../support/run.ts'
import { tempFolder } from '../../support/temp.ts'

test('ids, drive names and node names; read-only disks and empty drives are left out', async () => {
  await using folder = await tempFolder()
  for (const file of ['d1', 'd2', 'd3', 'd4']) await run('truncate', ['-s', '10000000', folder.join(file)])
  await using machine = await startMachine({
    folder: folder.path,
    disks: [
      { id: 'vda', format: 'qcow2', file: folder.join('a'), size: 1 << 26, iothread: true },
      { id: 'vdb', format: 'qcow2', file: folder.join('b'), size: 1 << 20, compat: '0.10' },
    ],
    extra: [
      ['-drive', `if=virtio,format=raw,file=${folder.join('d1')}`],
      ['-device', 'virtio-scsi-pci,id=bus', '-device', 'ide-cd,id=cd'],
      [
        '-blockdev',
        `raw,node-name=n2,file.driver=file,file.filename=${folder.join('d2')}`,
        '-device',
        'scsi-hd,drive=n2,id=sda',
      ],
      [
        '-blockdev',
        `raw,node-name=n3,file.driver=file,file.filename=${folder.join('d3')}`,
        '-device',
        'scsi-hd,drive=n3',
      ],
      [
        '-blockdev',
        `raw,node-name=n4,read-only=on,file.driver=file,file.filename=${folder.join('d4')}`,
        '-device',
        'scsi-hd,drive=n4,id=ro',
      ],
    ].flat(),
  })
  await using client = await QmpClient.connect({ path: machine.qmpPath })
  await client.execute('block-dirty-bitmap-add', { node: 'vda', name: 'theirs', persistent: true })
  const { disks, leftOut } = await listDisks(client)
  expect(leftOut).toEqual([{ name: 'ro', reason: 'read-only' }])
  expect(disks.map(({ name }) => name).toSorted()).toEqual(['n3', 'sda', 'vda', 'vdb', 'virtio0'])
  const byName = new Map(disks.map((disk) => [disk.name, disk]))
  expect(byName.get('vda')).toMatchObject({ node: 'vda', size: 1 << 26, format: 'qcow2', persistentBitmaps: true })
  expect(byName.get('vda')?.bitmaps).toEqual([
    {
      name: 'theirs',
      count: 0,
      granularity: 65_536,
      recording: true,
      busy: false,
      persistent: true,
      inconsistent: false,
    },
  ])
  expect(byName.get('vdb')).toMatchObject({ format: 'qcow2', persistentBitmaps: false })
  expect(byName.get('virtio0')).toMatchObject({ format: 'raw', size: 10_000_384, persistentBitmaps: false })
})

test.each([
  [{ qdev: '/machine/peripheral/vda/virtio-backend', device: '', node: 'a' }, ['vda', 'a']],
  [{ qdev: '/machine/peripheral/usb/usb.0/legacy[0]', device: 'd', node: 'a' }, ['usb', 'd', 'a']],
  [
    { qdev: '/machine/peripheral-anon/device[1]/virtio-backend', device: 'virtio0', node: '#block1' },
    ['virtio0', '#block1'],
  ],
  [{ qdev: 'sda', device: '', node: 'a' }, ['sda', 'a']],
  [{ qdev: '', device: '', node: 'a' }, ['a']],
])('%j is called %j', (disk, names) => expect(diskNames(disk)).toEqual(names))

const answering = (answers: Readonly<Record<string, unknown>>): QmpCaller => ({
  version: { major: 7, minor: 2, micro: 0 },
  closed: new Promise(() => undefined),
  subscribe: () => () => undefined,
  execute: (command) => Promise.resolve(answers[command]),
})

const block = (node: string, qdev: string) => ({
  device: '',
  qdev,
  removable: false,
  inserted: { ro: false, 'node-name': node, drv: 'raw' },
})
const node = (name: string, size: unknown) => ({
  'node-name': name,
  drv: 'raw',
  ro: false,
  image: { 'virtual-size': size, filename: 'f' },
})

test('a disk below filters is its image, which records also what bypasses them', async () => {
  await using folder = await tempFolder()
  const [top, base] = [folder.join('top.qcow2'), folder.join('base.raw')]
  await run('truncate', ['-s', '1M', base])
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', base, '-F', 'raw', top])
  const image = { driver: 'qcow2', 'node-name': 'image', file: { driver: 'file', filename: top } }
  const throttled = { driver: 'throttle', 'throttle-group': 'group', file: image }
  const filter = { driver: 'copy-on-read', 'node-name': 'filter', file: throttled }
  await using machine = await startMachine({
    folder: folder.path,
    disks: [],
    extra: [
      ['-object', 'throttle-group,id=group'],
      ['-blockdev', JSON.stringify(filter), '-device', 'virtio-blk-pci,drive=filter,id=vda'],
    ].flat(),
  })
  await using client = await QmpClient.connect({ path: machine.qmpPath })
  const [disk] = (await listDisks(client)).disks
  expect(disk).toMatchObject({ name: 'vda', node: 'image', format: 'qcow2', persistentBitmaps: true })
  expect(disk?.backing).toEqual([{ format: 'raw', fileName: base, size: 1 << 20 }])
  expect(pathOf(disk!.fileName)).toBe(top)
})

test('two devices that claim one name get two names', async () => {
  const client = answering({
    'query-block': [block('a', 'sda'), block('b', '/machine/peripheral/sda/x'), block('sda', '')],
    'query-named-block-nodes': [node('a', 1), node('b', 2), node('sda', 3)],
  })
  expect((await listDisks(client)).disks.map(({ name, size }) => [name, size])).toEqual([
    ['sda', 1],
    ['b', 2],
    ['sda-2', 3],
  ])
})

test.each([
  ['scsi-block', false, [], ['sda', 'sdb']],
  ['scsi-hd', true, ['sda'], []],
])('of two %s devices on one node (share-rw %s) are held %j, refused %j', async (type, shared, held, refused) => {
  const client = answering({
    'query-block': [block('a', 'sda'), block('a', 'sdb')],
    'query-named-block-nodes': [node('a', 1)],
  })
  const properties: Readonly<Record<string, unknown>> = { type, 'share-rw': shared }
  const execute: QmpCaller['execute'] = async (command, args) =>
    command === 'qom-get' ? properties[String(args?.['property'])] : await client.execute(command)
  const found = await listDisks({ ...client, execute })
  expect(found.disks.map(({ name }) => name)).toEqual(held)
  expect(found.refused?.map(({ name }) => name)).toEqual(refused)
  expect(found.leftOut.map(({ reason }) => reason)).toEqual(held.map(() => 'same-disk'))
})

test.each([-1, 1.5, '7', null, Number.MAX_SAFE_INTEGER * 4])('a size of %j is QMP_PROTOCOL', async (size) => {
  const client = answering({ 'query-block': [block('a', 'sda')], 'query-named-block-nodes': [node('a', size)] })
  await expect(listDisks(client)).rejects.toMatchObject({
    code: 'QMP_PROTOCOL',
    details: { command: 'query-named-block-nodes' },
  })
})
