// Notes of freezes: one for each guest, durable, and still telling the guest when their content is lost.
import { chmod, mkdir, readdir, symlink, truncate, writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { FreezeNotes, type FreezeNote } from '../../../agent/guest/freeze-notes.ts'
import { tempFolder } from '../../support/temp.ts'

const noteOf = (guestAgent: string, id = 'one'): FreezeNote => ({
  version: 1,
  id,
  guestAgent,
  machine: 'db1',
  qmp: '/nowhere/qmp',
  lease: 'lease',
  freezer: null,
  sinceMs: 1,
})

test('are created, found, replaced and removed; another process sees the same', async () => {
  await using folder = await tempFolder()
  const notes = FreezeNotes.in(folder.path)
  expect(await notes.list()).toEqual([])
  expect(await notes.of('/run/a')).toBe(null)
  const [a, b] = [noteOf('/run/a'), noteOf('/run/b', 'two')]
  await notes.create(a)
  await notes.create(b)
  const others = FreezeNotes.in(folder.path)
  expect(await others.list()).toEqual([a, b])
  expect(await others.of('/run/b')).toEqual(b)
  const taken = { ...b, freezer: { pid: 7, startTicks: '8', boot: 'x' } }
  await others.replace(taken)
  expect(await notes.of('/run/b')).toEqual(taken)
  await others.remove(a)
  await others.remove(a)
  await others.replace(a)
  expect(await notes.list()).toEqual([taken])
})

test('a guest has one note, by whatever name its socket is configured; a later freeze’s note is not taken for an earlier one', async () => {
  await using folder = await tempFolder()
  const notes = FreezeNotes.in(folder.path)
  await writeFile(folder.join('qga'), '')
  await symlink(folder.join('qga'), folder.join('alias'))
  await notes.create(noteOf(folder.join('qga')))
  await expect(notes.create(noteOf(folder.join('alias'), 'two'))).rejects.toMatchObject({
    code: 'GUEST_AGENT_ERROR',
    message: expect.stringContaining('earlier freeze'),
  })
  expect(await notes.of(folder.join('alias'))).toMatchObject({ id: 'one' })
  expect(await notes.holds(noteOf(folder.join('qga'), 'two'))).toBe(false)
  await notes.remove(noteOf(folder.join('qga'), 'two'))
  expect(await notes.holds(noteOf(folder.join('qga')))).toBe(true)
})

test('a note without its content still says which guest it is; what is no note is passed over', async () => {
  await using folder = await tempFolder()
  const notes = FreezeNotes.in(folder.path)
  await notes.create(noteOf('/run/guest.qga'))
  const [name = ''] = await readdir(notes.folder)
  await truncate(`${notes.folder}/${name}`, 3)
  await writeFile(`${notes.folder}/foreign.json`, '{}')
  await writeFile(`${notes.folder}/${name}.tmp`, '{}')
  const [damaged, ...more] = await notes.list()
  expect(more).toEqual([])
  expect(damaged).toMatchObject({ guestAgent: '/run/guest.qga', freezer: null })
  await notes.remove(damaged!)
  expect(await notes.list()).toEqual([])
})

test('where nothing can be written nothing looks like a freeze', async () => {
  await using folder = await tempFolder()
  await writeFile(folder.join('freezes'), 'a file in the way')
  await expect(FreezeNotes.in(folder.path).create(noteOf('/run/a'))).rejects.toMatchObject({
    code: 'GUEST_AGENT_ERROR',
    message: expect.stringContaining('could not be noted'),
  })
  await mkdir(folder.join('other', 'freezes'), { recursive: true })
  await chmod(folder.join('other', 'freezes'), 0o500)
  expect(await FreezeNotes.in(folder.join('other')).list()).toEqual([])
  // where nothing is known of a freeze, it is not known to be undone
  expect(await FreezeNotes.in(folder.join('none')).holds(noteOf('/run/a'))).toBe(true)
})
