// What is remembered of the files under a disk: names as QEMU gives them, and real files that are changed in every way.

import { copyFile, link, mkdir, rename, stat, symlink, utimes, writeFile } from 'node:fs/promises'
import { normalize } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { gatherEvidence, pathOf, refuseShared, sameEvidence } from '../../../agent/drivers/evidence.ts'
import { QmpClient } from '../../../agent/qmp/client.ts'
import { listDisks, type MachineDisk } from '../../../agent/qmp/disks.ts'
import { EVIDENCE_CHARS_MAX } from '../../../protocol/limits.ts'
import { startMachine } from '../../support/qemu.ts'
import { run } from '../../support/run.ts'
import { tempFolder, type TempFolder } from '../../support/temp.ts'

test.each([
  ['/images/a.qcow2', '/images/a.qcow2'],
  ['/images/with space "and" quotes', '/images/with space "and" quotes'],
  ['file:/images/a.qcow2', '/images/a.qcow2'],
  ['json:{"driver":"qcow2","file":{"driver":"file","filename":"/images/a"}}', '/images/a'],
  ['json:{"driver":"raw","offset":512,"file":{"driver":"file","filename":"/images/a"}}', '/images/a'],
  ['json:{"driver":"raw","file":{"driver":"raw","file":{"driver":"host_device","filename":"/dev/sdb"}}}', '/dev/sdb'],
  ['json:{"driver":"qcow2","file.driver":"file","file.filename":"/images/a"}', '/images/a'],
  ['json:{"driver":"qcow2","file.driver":"raw","file.file.filename":"/images/a"}', '/images/a'],
  ['json:{"driver":"file","filename":"/images/a"}', '/images/a'],
  ['json:{"driver":"file","filename":"file:/images/a"}', '/images/a'],
  // relative to where QEMU was started
  ['a.qcow2', null],
  ['./a.qcow2', null],
  ['file:a.qcow2', null],
  ['json:{"driver":"file","filename":"a"}', null],
  // no file of the host
  ['nbd://host:10809/a', null],
  ['https://host/a', null],
  ['', null],
  ['json:{"driver":"null-co","size":512}', null],
  ['json:{"driver":"nbd","server":{"type":"unix","path":"/run/nbd"}}', null],
  ['json:{"driver":"raw","file":"a-node"}', null],
  ['json:{"driver":"raw","file":7}', null],
  ['json:{"driver":"raw","file":null}', null],
  ['json:[]', null],
  ['json:7', null],
  ['json:{', null],
])('the file of %s', (name, path) => {
  expect(pathOf(name)).toBe(path)
})

const disk = (more: Partial<MachineDisk>): MachineDisk => ({
  name: 'vda',
  node: 'vda',
  qdev: '/machine/peripheral/vda/virtio-backend',
  size: 4096,
  format: 'qcow2',
  fileName: '/nowhere/top.qcow2',
  dataFile: null,
  clusterBytes: null,
  backing: [],
  persistentBitmaps: true,
  bitmaps: [],
  ...more,
})

const textOf = async (one: MachineDisk): Promise<string> => (await gatherEvidence(one)).text

test.each([
  ['raw /a file 1:2', 'raw /a file 1:2', true],
  ['raw /a file 1:2', 'raw /a file 77:2', true],
  ['qcow2\nraw /a 512 file 1:2 512 3 4', 'qcow2\nraw /a 512 file 9:2 512 3 4', true],
  ['raw /a file 1:2', 'raw /a file 1:3', false],
  ['raw /a file 1:2', 'raw /b file 1:2', false],
  ['raw /a file 1:2', 'raw /a device 2', false],
  ['raw /a device 1', 'raw /a device 2', false],
  ['qcow2\nraw /a 512 file 1:2 512 3 4', 'qcow2\nraw /a 512 file 9:2 512 3 5', false],
  ['sha256 0a', 'sha256 0b', false],
  [null, 'raw /a', false],
])('evidence %j is that of %j: %s', (recorded, now, same) => {
  expect(sameEvidence(recorded, now)).toBe(same)
})

test('the first files of two file systems that are mounted in each other’s place are not the same', async () => {
  await using folder = await tempFolder()
  const places = ['a', 'b'].map((name) => folder.join(name))
  for (const place of places) {
    await mkdir(place)
    await run('mount', ['-t', 'tmpfs', '-o', 'size=1M', 'varve-test', place])
  }
  try {
    // a file system's clock is coarser than a test
    for (const place of places) await Promise.all([writeFile(`${place}/disk`, ''), sleep(50)])
    const [one, other] = await Promise.all(places.map((place) => stat(`${place}/disk`)))
    expect(one?.ino).toBe(other?.ino)
    const own = disk({ fileName: `${places[0]}/disk` })
    const { ownText: before } = await gatherEvidence(own)
    expect(sameEvidence(before, (await gatherEvidence(own)).ownText)).toBe(true)
    await run('mount', ['--bind', places[1]!, places[0]!])
    const { ownText: after } = await gatherEvidence(own)
    await run('umount', [places[0]!])
    expect(sameEvidence(before, after)).toBe(false)
    // what an older agent recorded says nothing of it
    expect(sameEvidence(before.replace(/ born \d+$/, ''), after)).toBe(true)
  } finally {
    for (const place of places) await run('umount', [place])
  }
})

/** A disk over two files of this folder. */
const overlay = async (folder: TempFolder): Promise<MachineDisk> => {
  for (const name of ['top', 'middle', 'base']) await writeFile(folder.join(name), `content of ${name}`)
  const under = (name: string) => ({ format: 'raw', fileName: folder.join(name), size: 4096 })
  return disk({ fileName: folder.join('top'), backing: [under('middle'), under('base')] })
}

/** As if time had passed: a file system's clock is coarser than a test. */
const MINUTE_S = 60

describe('evidence of a disk over other files', () => {
  test('is the same while nothing below changes, whatever the disk itself writes', async () => {
    await using folder = await tempFolder()
    const one = await overlay(folder)
    const before = await textOf(one)
    expect(await textOf(one)).toBe(before)
    await writeFile(folder.join('top'), 'what the guest wrote')
    expect(await textOf(one)).toBe(before)
    // an image goes where it wants, with its bitmaps
    await rename(folder.join('top'), folder.join('elsewhere'))
    expect(await textOf({ ...one, fileName: folder.join('elsewhere') })).toBe(before)
    expect(await textOf({ ...one, name: 'vdb', node: 'other' })).toBe(before)
  })

  const changes: Record<string, (folder: TempFolder) => Promise<unknown>> = {
    'rewritten in place': (folder) => writeFile(folder.join('base'), 'CONTENT OF base', { flag: 'r+' }),
    'rewritten in place, with its old times set again': async (folder) => {
      const { atime, mtime } = await stat(folder.join('base'))
      await writeFile(folder.join('base'), 'CONTENT OF base', { flag: 'r+' })
      await utimes(folder.join('base'), atime, mtime)
    },
    touched: async (folder) => {
      const { mtimeMs } = await stat(folder.join('base'))
      await utimes(folder.join('base'), mtimeMs / 1000 + MINUTE_S, mtimeMs / 1000 + MINUTE_S)
    },
    'made longer': (folder) => writeFile(folder.join('base'), '!', { flag: 'a' }),
    'replaced by another of the same name, size and time': async (folder) => {
      const { atime, mtime } = await stat(folder.join('base'))
      await writeFile(folder.join('new'), 'content of BASE')
      await utimes(folder.join('new'), atime, mtime)
      await rename(folder.join('new'), folder.join('base'))
    },
    'replaced by a copy of itself': async (folder) => {
      await copyFile(folder.join('base'), folder.join('new'))
      await rename(folder.join('new'), folder.join('base'))
    },
    removed: (folder) => rename(folder.join('base'), folder.join('gone')),
  }

  test.each(Object.keys(changes))('differs when a file below is %s', async (how) => {
    await using folder = await tempFolder()
    const one = await overlay(folder)
    const before = await textOf(one)
    await changes[how]!(folder)
    expect(await textOf(one)).not.toBe(before)
  })

  test('differs when another file, another format, another size or no file is below', async () => {
    await using folder = await tempFolder()
    const one = await overlay(folder)
    const before = await textOf(one)
    const [middle, base] = one.backing
    await copyFile(folder.join('base'), folder.join('other'))
    for (const backing of [
      [middle!, { ...base!, fileName: folder.join('other') }],
      [middle!, { ...base!, format: 'qcow2' }],
      [middle!, { ...base!, size: 8192 }],
      [base!, middle!],
      [middle!],
      [],
    ])
      expect(await textOf({ ...one, backing })).not.toBe(before)
    expect(await textOf({ ...one, format: 'qed' })).not.toBe(before)
  })

  test('of names that are no files here is the names alone', async () => {
    await using folder = await tempFolder()
    await mkdir(folder.join('folder'))
    for (const fileName of ['relative', 'nbd://host/a', folder.join('nowhere'), folder.join('folder'), '/dev/null']) {
      const one = disk({ backing: [{ format: 'raw', fileName, size: 512 }] })
      const found = await gatherEvidence(one)
      expect(await textOf(one)).toBe(found.text)
      expect(found.text).toContain(fileName)
      expect(found.held.at(-1)?.file).toBe(`name ${normalize(fileName)}`)
      expect(await textOf({ ...one, backing: [{ format: 'raw', fileName: `${fileName}x`, size: 512 }] })).not.toBe(
        found.text,
      )
    }
  })

  test('of devices is which they are', async () => {
    await using folder = await tempFolder()
    await run('mknod', [folder.join('d1'), 'b', '240', '1'])
    await run('mknod', [folder.join('d2'), 'b', '240', '2'])
    await run('mknod', [folder.join('d3'), 'b', '240', '1'])
    const over = (fileName: string) => gatherEvidence(disk({ backing: [{ format: 'raw', fileName, size: 512 }] }))
    const first = await over(folder.join('d1'))
    await utimes(folder.join('d1'), 1, 1)
    expect((await over(folder.join('d1'))).text).toBe(first.text)
    expect((await over(folder.join('d2'))).held).not.toEqual(first.held)
    // the same device by another name
    expect((await over(folder.join('d3'))).held).toEqual(first.held)
    await rename(folder.join('d2'), folder.join('d1'))
    expect((await over(folder.join('d1'))).text).not.toBe(first.text)
  })
})

describe('evidence of a disk whose bitmaps end with QEMU', () => {
  test('is bound to its very file, though not to what is written to it', async () => {
    await using folder = await tempFolder()
    await writeFile(folder.join('a'), 'content')
    const one = disk({ format: 'raw', fileName: folder.join('a'), persistentBitmaps: false })
    const before = await textOf(one)
    await writeFile(folder.join('a'), 'CONTENT and more')
    expect(await textOf(one)).toBe(before)
    await copyFile(folder.join('a'), folder.join('b'))
    expect(await textOf({ ...one, fileName: folder.join('b') })).not.toBe(before)
    await rename(folder.join('b'), folder.join('a'))
    expect(await textOf(one)).not.toBe(before)
  })

  test('knows the file of its data', async () => {
    await using folder = await tempFolder()
    for (const name of ['a', 'data', 'other']) await writeFile(folder.join(name), name)
    const one = disk({ fileName: folder.join('a'), dataFile: folder.join('data'), persistentBitmaps: false })
    const found = await gatherEvidence(one)
    expect(found.written).toHaveLength(2)
    expect(await textOf({ ...one, dataFile: folder.join('other') })).not.toBe(found.text)
    await rename(folder.join('other'), folder.join('data'))
    expect(await textOf(one)).not.toBe(found.text)
  })
})

test('a text that is too long becomes a hash, which tells as much', async () => {
  const chain = (length: number) =>
    Array.from({ length }, (_, index) => ({
      format: 'qcow2',
      fileName: `/nowhere/${'x'.repeat(80)}${index}`,
      size: 512,
    }))
  const long = await textOf(disk({ backing: chain(100) }))
  expect(long).toMatch(/^sha256 [0-9a-f]{64}$/)
  expect(await textOf(disk({ backing: chain(100) }))).toBe(long)
  expect(await textOf(disk({ backing: chain(101) }))).not.toBe(long)
  expect(await textOf(disk({ backing: chain(100).with(50, chain(1)[0]!) }))).not.toBe(long)
  const short = await textOf(disk({ backing: chain(10) }))
  expect(short.length).toBeLessThanOrEqual(EVIDENCE_CHARS_MAX)
  expect(short.split('\n')).toHaveLength(11)
})

describe('two disks and one file', () => {
  const seen = (disks: readonly MachineDisk[]) =>
    Promise.all(disks.map(async (one) => ({ disk: one, evidence: await gatherEvidence(one) })))

  const refused = async (...disks: MachineDisk[]): Promise<void> => {
    const looked = await seen(disks)
    expect(() => refuseShared(looked)).toThrow(expect.objectContaining({ code: 'DISK_UNSUPPORTED' }))
    expect(() => refuseShared(looked.toReversed())).toThrow(expect.objectContaining({ code: 'DISK_UNSUPPORTED' }))
  }

  const raw = (name: string, fileName: string): MachineDisk =>
    disk({ name, node: name, format: 'raw', fileName, persistentBitmaps: false })

  const slice = (name: string, file: string, offset: number, size: number | null = 512): MachineDisk => {
    const part = `"offset":${offset}${size === null ? '' : `,"size":${size}`}`
    return raw(name, `json:{"driver":"raw",${part},"file":{"driver":"file","filename":"${file}"}}`)
  }

  test('are refused by whatever names lead to it, and the message has both disks', async () => {
    await using folder = await tempFolder()
    const file = folder.join('a')
    await writeFile(file, 'content')
    await link(file, folder.join('hard'))
    await symlink(file, folder.join('soft'))
    const json = `json:{"driver":"raw","file":{"driver":"file","filename":"${file}"}}`
    for (const name of [file, folder.join('hard'), folder.join('soft'), `file:${file}`, json])
      await refused(raw('vda', file), raw('vdb', name))
    const looked = await seen([raw('vda', file), raw('vdb', folder.join('hard'))])
    expect(() => refuseShared(looked)).toThrow(/disk vda writes .*, which disk vdb uses too/)
    expect(() => refuseShared(looked)).toThrow(expect.objectContaining({ details: { disk: 'vda', other: 'vdb' } }))
  })

  test('are refused where one writes what is below the other, or its data', async () => {
    await using folder = await tempFolder()
    for (const name of ['top', 'base', 'data']) await writeFile(folder.join(name), name)
    const under = { format: 'raw', fileName: folder.join('base'), size: 512 }
    const top = disk({ name: 'vda', fileName: folder.join('top'), backing: [under] })
    await refused(top, raw('vdb', folder.join('base')))
    const external = disk({ name: 'vda', fileName: folder.join('top'), dataFile: folder.join('data') })
    await refused(external, raw('vdb', folder.join('data')))
  })

  test('a slice of a file and the whole of it are refused, and slices that overlap; others are not', async () => {
    await using folder = await tempFolder()
    const file = folder.join('a')
    await writeFile(file, Buffer.alloc(2048))
    await refused(slice('vda', file, 512), raw('vdb', file))
    await refused(slice('vda', file, 512), slice('vdb', file, 512))
    await refused(slice('vda', file, 0, 1024), slice('vdb', file, 512))
    await refused(slice('vda', file, 0, null), slice('vdb', file, 1024))
    const nested = `json:{"driver":"raw","offset":"512","file.driver":"raw","file.file.filename":"${file}","file.offset":"512"}`
    await refused(raw('vda', nested), slice('vdb', file, 1024))
    refuseShared(await seen([slice('vda', file, 0), slice('vdb', file, 512), slice('vdc', file, 1024, null)]))
  })

  test('are two disks where they only share what nobody writes', async () => {
    await using folder = await tempFolder()
    for (const name of ['a', 'b', 'base']) await writeFile(folder.join(name), 'the same')
    const backing = [{ format: 'raw', fileName: folder.join('base'), size: 512 }]
    const over = (name: string) => disk({ name, fileName: folder.join(name), backing })
    refuseShared(await seen([over('a'), over('b')]))
    refuseShared([])
  })

  test('are refused where the name of both is the same and no file of this host', async () => {
    await refused(raw('vda', 'relative'), raw('vdb', 'file:./relative'))
    await refused(raw('vda', 'nbd://host/a'), raw('vdb', 'nbd://host/a'))
    const remote = 'json:{"driver":"raw","file":{"driver":"nbd","server":{"type":"unix","path":"/run/nbd"}}}'
    await refused(raw('vda', remote), raw('vdb', remote))
    refuseShared(await seen([raw('vda', 'relative'), raw('vdb', 'other')]))
    for (const nothing of ['', 'null-co://', 'json:{"driver":"null-aio","size":512}'])
      refuseShared(await seen([raw('vda', nothing), raw('vdb', nothing)]))
  })
})

test('what a real QEMU says of a chain and a slice is understood', async () => {
  await using folder = await tempFolder()
  const base = folder.join('base.raw')
  await run('truncate', ['-s', '1M', base])
  await run('truncate', ['-s', '2M', folder.join('whole.raw')])
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', base, '-F', 'raw', folder.join('a.qcow2')])
  const file = { driver: 'file', filename: folder.join('whole.raw') }
  const node = { driver: 'raw', 'node-name': 'part', offset: 1 << 20, size: 1 << 20, file }
  await using machine = await startMachine({
    folder: folder.path,
    disks: [{ id: 'vda', format: 'qcow2', file: folder.join('a.qcow2'), size: 1 << 20 }],
    extra: ['-blockdev', JSON.stringify(node), '-device', 'virtio-blk-pci,drive=part,id=vdb'],
  })
  await using client = await QmpClient.connect({ path: machine.qmpPath })
  const { disks } = await listDisks(client)
  const [vda, vdb] = disks
  expect(vda?.backing.map(({ fileName }) => pathOf(fileName))).toEqual([base])
  expect(pathOf(vdb!.fileName)).toBe(folder.join('whole.raw'))
  const before = await textOf(vda!)
  const part = await gatherEvidence(vdb!)
  expect(part.written).toEqual([expect.objectContaining({ from: 1 << 20, to: 2 << 20 })])
  await machine.guestWrite('vda', 0x11, 0, 65_536)
  await machine.guestWrite('vdb', 0x11, 0, 65_536)
  expect(await textOf(vda!)).toBe(before)
  expect((await gatherEvidence(vdb!)).text).toBe(part.text)
  const { mtimeMs } = await stat(base)
  await utimes(base, mtimeMs / 1000 + MINUTE_S, mtimeMs / 1000 + MINUTE_S)
  expect(await textOf(vda!)).not.toBe(before)
})
