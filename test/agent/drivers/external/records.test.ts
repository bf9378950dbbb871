// What is recorded of machines whose leases others hold outlives the agent, and nothing is believed of a file that is not whole.
import { readdir, writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { Records, type MachineRecord } from '../../../../agent/drivers/external/records.ts'
import { tempFolder } from '../../../support/temp.ts'

const record: MachineRecord = {
  version: 1,
  machine: 'vm-100',
  uuid: '3f2a91c0-9d2e-4c58-8f6a-0b7c61d5e214',
  exporter: { pid: 7, startTicks: '100', boot: 'b' },
  disks: [{ name: 'vda', size: 9, bitmap: 'b0', point: 'p1', exporter: null, fullMs: 1, seen: [[0, 3]] }],
}

test('a record is read back, listed and removed', async () => {
  await using folder = await tempFolder()
  const records = new Records(folder.path)
  expect(await records.machines()).toEqual([])
  await records.write(record)
  expect(await new Records(folder.path).of('vm-100')).toEqual(record)
  expect(await records.machines()).toEqual(['vm-100'])
  expect(await readdir(folder.join('external'))).toEqual(['vm-100.json'])
  await records.remove('vm-100')
  expect(await records.machines()).toEqual([])
})

test('nothing is known by a file that is damaged, or is of another machine', async () => {
  await using folder = await tempFolder()
  const records = new Records(folder.path)
  const nothing = { version: 1, machine: 'vm-101', uuid: null, exporter: null, disks: [] }
  await records.write(record)
  for (const text of ['', '{', JSON.stringify(record), JSON.stringify({ ...record, machine: 'vm-101', version: 2 })]) {
    await writeFile(folder.join('external', 'vm-101.json'), text)
    expect(await records.of('vm-101')).toEqual(nothing)
  }
})
