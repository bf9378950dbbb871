// What a lease left whose journal entry is gone.

import { readdir, rm } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { findOrphans } from '../../../../agent/drivers/qmp/orphans.ts'
import { exampleEntry } from '../../../support/journal-entry.ts'
import { startBench, threeDisks } from '../../../support/lease.ts'
import { tempFolder } from '../../../support/temp.ts'

test('the next begin removes them, and nothing else', async () => {
  await using folder = await tempFolder()
  await using bench = await startBench(folder.path, threeDisks(folder.path))
  await bench.machine.control.execute('blockdev-add', {
    driver: 'null-co',
    'node-name': 'varve-deadbeef-0000000001-0',
    size: 1,
  })
  const untouched = await bench.objects()
  const first = await bench.agent()
  await first.driver.begin(bench.request())
  await first[Symbol.asyncDispose]()
  await rm(folder.join('state', 'leases'), { recursive: true })

  await using second = await bench.agent()
  const lease = await second.driver.begin(bench.request())
  expect(await readdir(folder.join('run'))).toHaveLength(1)
  expect(await readdir(folder.join('state', 'scratch'))).toEqual([lease.id])
  await lease.end('failed')
  expect(await bench.objects()).toEqual(untouched)
})

test('what the journal knows is no orphan, nor is what another agent made', () => {
  const entry = exampleEntry()
  const inventory = {
    exports: [
      { id: 'varve-deadbeef-exp-0', type: 'nbd' },
      ...entry.disks.map(({ exportId }) => ({ id: exportId, type: 'nbd' })),
    ],
    jobs: [{ id: 'theirs', status: 'running' }],
    nodes: [],
  }
  expect(findOrphans(inventory, entry.agentId, [entry])).toBe(null)
  expect(findOrphans(inventory, entry.agentId, [])?.target.exports).toEqual(
    new Set(entry.disks.map(({ exportId }) => exportId)),
  )
})
