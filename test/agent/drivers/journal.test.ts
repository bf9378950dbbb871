// The journal: what was written is read, what is damaged is moved aside and told.

import { readFile, readdir, writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { checkLeaseId } from '../../../agent/drivers/journal.ts'
import { openJournal } from '../../../agent/drivers/registry.ts'
import { journalled, qmpMachine } from '../../support/journal-entry.ts'
import { tempFolder } from '../../support/temp.ts'

test('writes, replaces, lists and removes; a new process reads the same', async () => {
  await using folder = await tempFolder()
  const journal = await openJournal(folder.path)
  const [one, two] = [journalled(), journalled({ id: '0192bbbb-1111-7000-8000-000000000002' })]
  await journal.write(one)
  await journal.write(two)
  const active = { ...one, phase: 'active' as const, timeMs: 12, consistency: 'frozen' as const }
  await journal.write(active)
  const reopened = await openJournal(folder.path)
  expect(await reopened.list()).toEqual([active, two])
  await reopened.remove(one.id)
  await reopened.remove(one.id)
  expect(await journal.list()).toEqual([two])
})

test('damaged entries are moved aside and told, half-written files are dropped, good ones stay', async () => {
  await using folder = await tempFolder()
  const seen: string[] = []
  const journal = await openJournal(folder.path)
  const good = journalled()
  await journal.write(good)
  const path = (name: string): string => folder.join('leases', name)
  const text = await readFile(path(`${good.id}.json`), 'utf8')
  await writeFile(path('aaaaaaaa.json'), text.slice(0, 40))
  await writeFile(path('bbbbbbbb.json'), text)
  await writeFile(path('cccccccc.json'), text.replace('"version":2', '"version":9').replace(good.id, 'cccccccc'))
  await writeFile(path('dddddddd.json.tmp'), text)
  const reopened = await openJournal(folder.path, { onDamaged: (file) => void seen.push(file) })
  expect(await reopened.list()).toEqual([good])
  expect(seen).toEqual(['aaaaaaaa.json', 'bbbbbbbb.json', 'cccccccc.json'].map(path))
  expect((await readdir(folder.join('leases'))).filter((name) => name.includes('.damaged-'))).toHaveLength(3)
  expect((await readdir(folder.join('leases'))).some((name) => name.endsWith('.tmp'))).toBe(false)
  expect(await reopened.list()).toEqual([good])
})

test('an entry of an unknown driver or version is left as it is, told once, and holds its machine', async () => {
  await using folder = await tempFolder()
  const journal = await openJournal(folder.path)
  const [known, versioned, driven] = [1, 2, 3].map((number) =>
    journalled({ id: `0192bbbb-1111-7000-8000-00000000000${number}` }),
  )
  const file = (id: string): string => folder.join('leases', `${id}.json`)
  for (const entry of [known!, versioned!, driven!]) await journal.write(entry)
  const texts = [
    (await readFile(file(versioned!.id), 'utf8')).replace('"payloadVersion":3', '"payloadVersion":4'),
    // a later version may know reasons that this one does not
    (await readFile(file(driven!.id), 'utf8'))
      .replace('"qmp"', '"libvirt"')
      .replace('"refuseFull":[]', '"refuseFull":["x"]'),
  ]
  await writeFile(file(versioned!.id), texts[0]!)
  await writeFile(file(driven!.id), texts[1]!)
  const told: string[] = []
  const reopened = await openJournal(folder.path, {
    onUnknown: ({ id, machine }) => void told.push(`${machine.driver} ${id}`),
  })
  expect(await reopened.list()).toEqual([known])
  expect((await reopened.listUnknown()).map(({ id }) => id)).toEqual([versioned!.id, driven!.id])
  expect(told).toEqual([`qmp ${versioned!.id}`, `libvirt ${driven!.id}`])
  expect([await readFile(file(versioned!.id), 'utf8'), await readFile(file(driven!.id), 'utf8')]).toEqual(texts)
  for (const machine of [qmpMachine('/elsewhere'), qmpMachine('/nowhere/qmp', { name: 'other' })])
    await expect(reopened.refuseUnknown(machine)).rejects.toMatchObject({
      code: 'LEASE_HELD',
      message: expect.stringContaining(file(versioned!.id)),
    })
  await reopened.refuseUnknown(qmpMachine('/elsewhere', { name: 'other' }))
})

test('checkpoints that other leases need are kept', async () => {
  await using folder = await tempFolder()
  const journal = await openJournal(folder.path)
  const [one, two] = [journalled({ baseLease: null }), journalled({ id: 'lease-two', baseLease: 'base-two' })]
  for (const entry of [one, two]) await journal.write(entry)
  expect(await journal.keptCheckpoints(one.id)).toEqual(new Set(['lease-two', 'base-two']))
  expect(await journal.keptCheckpoints('lease-two')).toEqual(new Set([one.id]))
})

test('an entry of an older program does not say who made the base’s checkpoint', async () => {
  await using folder = await tempFolder()
  const journal = await openJournal(folder.path)
  const { baseAgent: _baseAgent, ...older } = journalled()
  const file = `${journal.folder}/${older.id}.json`
  await journal.write(journalled())
  const { baseAgent, ...stored } = JSON.parse(await readFile(file, 'utf8')) as Record<string, unknown>
  expect(baseAgent).toBe(journalled().baseAgent)
  await writeFile(file, JSON.stringify(stored))
  expect(await journal.list()).toEqual([{ ...older, baseAgent: null }])
})

test('an entry that could not be read back is not written', async () => {
  await using folder = await tempFolder()
  const journal = await openJournal(folder.path)
  await expect(journal.write(journalled({ disks: [] }))).rejects.toThrow()
  await expect(journal.write(journalled({ id: '../evil-path' }))).rejects.toThrow()
  await expect(journal.write(journalled({ configuration: 'x'.repeat(2 ** 20) }))).rejects.toMatchObject({
    code: 'DISK_UNSUPPORTED',
  })
  expect(await journal.list()).toEqual([])
})

test.each(['', 'short', '../../etc/passwd', 'a b c d e f g', 'x'.repeat(65), '-1234567'])('%j is no lease id', (id) => {
  expect(() => checkLeaseId(id)).toThrow(expect.objectContaining({ code: 'PARAMS_INVALID' }))
})
