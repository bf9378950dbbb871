// What is looked at before a decision: each disk with what is below it, and two that share a file refused.

import { writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { gatherEvidence } from '../../../agent/drivers/evidence.ts'
import { seeDisks } from '../../../agent/drivers/seen-disks.ts'
import type { MachineDisk } from '../../../agent/qmp/disks.ts'
import { tempFolder } from '../../support/temp.ts'

const disk = (name: string, fileName: string, format = 'qcow2'): MachineDisk => ({
  name,
  node: name,
  qdev: '',
  size: 4096,
  format,
  fileName,
  dataFile: null,
  clusterBytes: null,
  backing: [],
  persistentBitmaps: format === 'qcow2',
  bitmaps: [],
})

test('each disk has its evidence, and its driver says which hold bitmaps', async () => {
  await using folder = await tempFolder()
  for (const name of ['a', 'b']) await writeFile(folder.join(name), name)
  const disks = [disk('vda', folder.join('a')), disk('vdb', folder.join('b'), 'raw')]
  const leftOut = [{ name: 'cd0', reason: 'read-only' }] as const
  const evidence = await Promise.all(disks.map((one) => gatherEvidence(one)))
  const refused = [{ name: 'vdc', why: 'is shared with other machines' }]
  const seen = await seeDisks({ disks, leftOut, refused })
  expect(seen).toEqual({
    disks: disks.map((one, index) => {
      const { text, ownText } = evidence[index]!
      return { ...one, evidence: text, ownEvidence: ownText, holdsBitmaps: true }
    }),
    leftOut,
    refused,
  })
  expect(seen.disks.map((one) => one.evidence === one.ownEvidence)).toEqual([false, true])
  const offline = await seeDisks({ disks, leftOut }, ({ persistentBitmaps }) => persistentBitmaps)
  expect(offline.disks.map(({ holdsBitmaps }) => holdsBitmaps)).toEqual([true, false])
})

test('two disks that write one file are refused', async () => {
  await using folder = await tempFolder()
  await writeFile(folder.join('a'), 'a')
  const disks = [disk('vda', folder.join('a'), 'raw'), disk('vdb', folder.join('a'), 'raw')]
  await expect(seeDisks({ disks, leftOut: [] })).rejects.toMatchObject({ code: 'DISK_UNSUPPORTED' })
})
