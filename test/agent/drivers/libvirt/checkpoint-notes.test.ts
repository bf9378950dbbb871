// Notes of checkpoints that libvirt does not list. Goal: what was added is found by the next agent, and a damaged file is no
// more than nothing noted. Method: a state folder, read by one object after the other.
import { mkdir, readdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { CheckpointNotes } from '../../../../agent/drivers/libvirt/checkpoint-notes.ts'
import { tempFolder } from '../../../support/temp.ts'

const UUID = '12345678-9abc-def0-1234-56789abcdef0'

test('names are kept for each domain, once, until they are removed', async () => {
  await using folder = await tempFolder()
  const notes = (): CheckpointNotes => new CheckpointNotes(folder.path)
  expect(await notes().of(UUID)).toEqual([])
  await notes().remove(UUID, 'a')
  for (const name of ['a', 'b', 'a']) await notes().add(UUID, name)
  await notes().add('other', 'c')
  expect(await notes().of(UUID)).toEqual(['a', 'b'])
  await notes().remove(UUID, 'a')
  expect(await notes().of(UUID)).toEqual(['b'])
  await notes().remove(UUID, 'b')
  expect(await readdir(folder.join('checkpoints'))).toEqual(['other.json'])
})

test.each(['', '{', '"a"', '[1]', '[""]', JSON.stringify(['x'.repeat(513)]), JSON.stringify(Array(4097).fill('x'))])(
  'a file with %.20s is nothing noted, and is written anew',
  async (text) => {
    await using folder = await tempFolder()
    const notes = new CheckpointNotes(folder.path)
    await notes.add(UUID, 'a')
    const file = folder.join('checkpoints', `${UUID}.json`)
    expect(JSON.parse(await readFile(file, 'utf8'))).toEqual(['a'])
    await writeFile(file, text)
    expect(await notes.of(UUID)).toEqual([])
    await notes.add(UUID, 'b')
    expect(await notes.of(UUID)).toEqual(['b'])
  },
)

test('a uuid that is a path stays in the folder', async () => {
  await using folder = await tempFolder()
  await new CheckpointNotes(folder.join('state')).add('../../x', 'a')
  expect(await readdir(folder.path)).toEqual(['state'])
  expect((await readdir(folder.join('state/checkpoints'))).length).toBe(1)
})

test('a file that is there and cannot be read now fails what needs it, and keeps its names', async () => {
  await using folder = await tempFolder()
  const notes = new CheckpointNotes(folder.path)
  await notes.add(UUID, 'a')
  const file = folder.join('checkpoints', `${UUID}.json`)
  const aside = folder.join('aside')
  await rename(file, aside)
  const refused = async (): Promise<void> => {
    const all = [() => notes.of(UUID), () => notes.add(UUID, 'b'), () => notes.remove(UUID, 'a')]
    for (const act of all)
      await expect(act()).rejects.toMatchObject({ code: 'INTERNAL', message: expect.stringContaining(file) })
  }
  // neither is ENOENT: EISDIR and ELOOP, also for root
  await mkdir(file)
  await refused()
  await rm(file, { recursive: true })
  await symlink(file, file)
  await refused()
  await rm(file)
  await rename(aside, file)
  await notes.add(UUID, 'b')
  expect(await notes.of(UUID)).toEqual(['a', 'b'])
})
