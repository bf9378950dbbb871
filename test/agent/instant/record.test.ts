// The record of a machine that runs from the gateway, and the list of them.
import { mkdir, rm, symlink, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import { backingOf } from '../../../agent/instant/overlay.ts'
import {
  checkLength,
  findRecord,
  imageNameOf,
  InstantList,
  newRecord,
  openRecord,
  placesIn,
  writeRecord,
  type InstantRecord,
} from '../../../agent/instant/record.ts'
import { tempFolder } from '../../support/temp.ts'

const recordIn = (folder: string): InstantRecord =>
  newRecord({
    point: 'p',
    machine: 'db1',
    timeMs: 1,
    begunMs: 2,
    way: { config: '/etc/varve/agent.toml' },
    domain: null,
    files: [],
    disks: [{ name: 'vda', size: 512, file: `${folder}/vda.qcow2`, alone: false, writtenBytes: 0 }],
    reconnectMs: 600_000,
    cacheBytes: 1,
    speed: 0,
  })

test('names of disks become names of files that lead nowhere else', () => {
  expect(['vda', 'a.b-c_d', '../../etc/passwd', '.hidden', '-rf', 'a b', '%2F', "o'x"].map(imageNameOf)).toEqual([
    'vda.qcow2',
    'a.b-c_d.qcow2',
    '%2e.%2F..%2Fetc%2Fpasswd.qcow2',
    '%2ehidden.qcow2',
    '%2drf.qcow2',
    'a%20b.qcow2',
    '%252F.qcow2',
    'o%27x.qcow2',
  ])
  expect(() => imageNameOf('ü'.repeat(80))).toThrow('too long a name')
})

test('sockets and headers have room for the names, or are refused', () => {
  checkLength(placesIn(`/${'a'.repeat(80)}`))
  expect(() => checkLength(placesIn(`/${'a'.repeat(85)}`))).toThrow('shorter one')
  expect(JSON.parse(backingOf('d"a', '/n', 1500).replace(/^json:/u, ''))).toEqual({
    driver: 'raw',
    file: { driver: 'nbd', server: { type: 'unix', path: '/n' }, export: 'd"a', 'reconnect-delay': 2 },
  })
  expect(() => backingOf('x'.repeat(1000), '/n', 1000)).toThrow('too long a name')
})

test('a record is found again, missed with a way out, and told when it is damaged', async () => {
  await using temp = await tempFolder()
  const places = placesIn(temp.path)
  await expect(openRecord(temp.path)).rejects.toThrow('runs from the gateway')
  await mkdir(places.private)
  const record = recordIn(temp.path)
  await writeRecord(places, record)
  expect(await findRecord(places)).toEqual(record)
  for (const content of ['{}', 'no JSON', JSON.stringify(recordIn('/etc'))]) {
    await writeFile(places.record, content)
    await expect(findRecord(places)).rejects.toThrow('is damaged')
  }
  await rm(places.record)
  await symlink('/etc/passwd', places.record)
  await expect(findRecord(places)).rejects.toThrow()
})

test('the list has the folders with a record, and those whose record is damaged', async () => {
  await using temp = await tempFolder()
  const list = InstantList.in(temp.join('state'))
  expect(await list.all()).toEqual([])
  for (const name of ['whole', 'damaged', 'gone']) {
    const places = placesIn(temp.join(name))
    await mkdir(places.private, { recursive: true })
    const one = recordIn(places.folder)
    if (name === 'damaged') await writeFile(places.record, '{')
    else if (name === 'whole') await writeRecord(places, one)
    await list.add(one.id, places.folder)
  }
  await writeFile(temp.join('state', 'instants', 'other'), '')
  await writeFile(temp.join('state', 'instants', `${crypto.randomUUID()}.json`), '{"folder":1}')
  expect((await list.all()).map(({ folder }) => path.basename(folder))).toEqual(['damaged', 'whole'])
})
