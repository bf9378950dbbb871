// Journal entries of this driver, also of before the journal had a head.

import { readFile, readdir, writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { fromJournal, qmpEntries, writeEntry } from '../../../../agent/drivers/qmp/entry.ts'
import { openJournal } from '../../../../agent/drivers/registry.ts'
import { exampleEntry } from '../../../support/journal-entry.ts'
import { startBench, threeDisks, type LeaseBench } from '../../../support/lease.ts'
import { tempFolder } from '../../../support/temp.ts'

test('head and payload are one to this driver, and two in the journal', async () => {
  await using folder = await tempFolder()
  const journal = await openJournal(folder.path)
  const entry = exampleEntry()
  await writeEntry(journal, entry)
  expect(await qmpEntries(journal)).toEqual([entry])
  const [written] = await journal.list()
  expect(Object.keys(written!)).not.toContain('disks')
  expect(fromJournal(written!)).toEqual(entry)
})

interface OldDisk {
  readonly checkpoint: string
  readonly scratchNode: string
  readonly exportId: string
  readonly node: string
  readonly persistent: boolean
  readonly [field: string]: unknown
}

/**
 * Makes of the one entry what an older agent wrote, and in QEMU what it made: a node, an export and a bitmap more for each disk.
 * Version 1 of the journal had the machine's paths, and all of the payload, among the rest.
 */
const makeOld = async (bench: LeaseBench, version: 'journal 1' | 'payload 1' | 'payload 2'): Promise<void> => {
  const folder = `${bench.stateFolder}/leases`
  const [name = ''] = await readdir(folder)
  const { payload, payloadVersion, machine, ...head } = JSON.parse(await readFile(`${folder}/${name}`, 'utf8'))
  expect(payloadVersion).toBe(3)
  const { older, disks, ...rest } = payload as { older: unknown; disks: OldDisk[] }
  expect(older).toEqual({ exports: [], nodes: [] })
  const before3 = disks.map(({ access: _, compared: __, ...disk }) => disk as OldDisk)
  if (version === 'payload 2') {
    const entry = { ...head, machine, payloadVersion: 2, payload: { ...rest, older, disks: before3 } }
    return await writeFile(`${folder}/${name}`, JSON.stringify(entry))
  }
  const oldDisks = before3.map((disk) => ({
    ...disk,
    sizeMark: disk.checkpoint.replace('-cp-', '-size-'),
    sizeGranularity: 65_536,
    sizeNode: `${disk.scratchNode}s`,
    sizeExportId: `${disk.exportId}s`,
  }))
  const { control } = bench.machine
  for (const { sizeNode, sizeExportId, sizeMark, node, persistent } of oldDisks) {
    await control.execute('blockdev-add', { driver: 'null-co', 'node-name': sizeNode, size: 4096 })
    await control.execute('block-export-add', {
      id: sizeExportId,
      type: 'nbd',
      'node-name': sizeNode,
      name: sizeExportId,
    })
    await control.execute('block-dirty-bitmap-add', { node, name: sizeMark, persistent, disabled: true })
  }
  const oldPayload = { ...rest, disks: oldDisks }
  const old = { name: machine.name, qmp: machine.keys.qmp, guestAgent: null }
  const { baseAgent: _, ...oldHead } = head as Record<string, unknown>
  const entry =
    version === 'journal 1'
      ? { ...oldHead, ...oldPayload, version: 1, machine: old }
      : { ...oldHead, machine, payloadVersion: 1, payload: oldPayload }
  await writeFile(`${folder}/${name}`, JSON.stringify(entry))
}

test.each([
  ['settles', 'journal 1'],
  ['goes on with', 'journal 1'],
  ['settles', 'payload 1'],
  ['goes on with', 'payload 1'],
  ['settles', 'payload 2'],
  ['goes on with', 'payload 2'],
] as const)('the first start after an update %s an old entry (%s)', async (how, version) => {
  await using folder = await tempFolder()
  await using bench = await startBench(folder.path, threeDisks(folder.path).slice(0, 2))
  bench.fleecing = 'off'
  const untouched = await bench.objects()
  await using victim = await bench.victim(bench.request(), 1)
  const [guard = 0] = await victim.children()
  await victim.end('SIGKILL')
  process.kill(guard, 'SIGKILL')
  await makeOld(bench, version)

  await using agent = await bench.agent()
  const [entry] = await agent.journal.list()
  expect(entry).toMatchObject({ machine: { driver: 'qmp', address: bench.machine.qmpPath }, phase: 'active' })
  await expect(agent.driver.begin(bench.request())).rejects.toMatchObject({ code: 'LEASE_HELD' })
  if (how === 'settles') await agent.driver.settle(entry!, 'failed')
  else {
    const adopted = await agent.driver.adopt(entry!)
    await adopted!.check()
    await adopted!.end('failed')
  }
  expect(await bench.objects()).toEqual(untouched)
  expect(await readdir(`${bench.stateFolder}/leases`)).toEqual([])
  expect(await readdir(`${bench.stateFolder}/scratch`)).toEqual([])
})
