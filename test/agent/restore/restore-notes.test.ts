// What killed restores leave: removed or told by the next start, and nothing else is touched.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { temporaryName } from '../../../agent/restore/new-file.ts'
import { incompleteName, RestoreNotes } from '../../../agent/restore/restore-notes.ts'
import { markProcess } from '../../../agent/process-mark.ts'
import { tempFolder, type TempFolder } from '../../support/temp.ts'

/** A mark of a process that is gone. */
const deadWriter = async (): Promise<unknown> => {
  const child = spawn('sleep', ['600'])
  await once(child, 'spawn')
  const mark = markProcess(child.pid)
  child.kill('SIGKILL')
  await once(child, 'exit')
  return mark
}

/** Notes a restore as a process that is gone would have. */
const noteDead = async (
  temp: TempFolder,
  target: string,
  temporary: string | null,
  more: Readonly<Record<string, unknown>> = {},
): Promise<void> => {
  await mkdir(temp.join('state', 'restores'), { recursive: true })
  const name = `${crypto.randomUUID()}.json`
  const note = { target, temporary, ...more, writer: await deadWriter() }
  await writeFile(temp.join('state', 'restores', name), JSON.stringify(note))
}

const notesLeft = (temp: TempFolder): Promise<string[]> => readdir(temp.join('state', 'restores'))

test('a note is there while its restore runs, which is left alone', async () => {
  await using temp = await tempFolder()
  const notes = RestoreNotes.in(temp.join('state'))
  expect(await notes.settle()).toEqual([])
  const temporary = temporaryName(temp.join('disk'))
  {
    await using _note = await notes.begin(temp.join('disk'), temporary)
    await writeFile(temporary, 'x')
    expect(await notes.settle()).toEqual([])
    expect(await notesLeft(temp)).toHaveLength(1)
  }
  expect(await notesLeft(temp)).toEqual([])
  expect(await readFile(temporary, 'utf8')).toBe('x')
})

test('the file of a killed restore goes, with a sentence; once', async () => {
  await using temp = await tempFolder()
  const notes = RestoreNotes.in(temp.join('state'))
  const temporary = temporaryName(temp.join('disk'))
  await writeFile(temporary, 'half')
  await noteDead(temp, temp.join('disk'), temporary)
  const [sentence, ...more] = await notes.settle()
  expect(more).toEqual([])
  expect(sentence).toContain(`removed ${temporary}`)
  expect(await readdir(temp.path)).toEqual(['state'])
  expect(await notes.settle()).toEqual([])
  expect(await notesLeft(temp)).toEqual([])
})

test('one that made nothing, or whose folder is away, or that wrote a device', async () => {
  await using temp = await tempFolder()
  const notes = RestoreNotes.in(temp.join('state'))
  await noteDead(temp, temp.join('disk'), temporaryName(temp.join('disk')))
  expect(await notes.settle()).toEqual([])
  await noteDead(temp, temp.join('away', 'disk'), temporaryName(temp.join('away', 'disk')))
  expect(await notes.settle()).toEqual([expect.stringContaining('whose folder is missing now')])
  await noteDead(temp, '/dev/vg/db1', null)
  expect(await notes.settle()).toEqual([expect.stringContaining('/dev/vg/db1 was killed: the device holds only part')])
  expect(await notesLeft(temp)).toEqual([])
})

test('nothing is removed that a restore does not make, and a note that says so counts as none', async () => {
  await using temp = await tempFolder()
  const notes = RestoreNotes.in(temp.join('state'))
  await writeFile(temp.join('precious'), 'x')
  await noteDead(temp, temp.join('disk'), temp.join('precious'))
  await writeFile(temp.join('state', 'restores', 'README'), '')
  await writeFile(temp.join('state', 'restores', `${crypto.randomUUID()}.json`), '{')
  expect(await notes.settle()).toEqual([])
  expect(await readFile(temp.join('precious'), 'utf8')).toBe('x')
})

test('a state folder that takes no note keeps no restore from going on', async () => {
  await using temp = await tempFolder()
  await symlink('/proc/nothing', temp.join('state'))
  const note = await RestoreNotes.in(temp.join('state')).begin('/a', null)
  await note[Symbol.asyncDispose]()
  await rm(temp.join('state'))
})

test('an image that was written in place is told by where it is now; of a device until it is whole', async () => {
  await using temp = await tempFolder()
  const notes = RestoreNotes.in(temp.join('state'))
  // a file stands in the device's place
  const [file, device, gone] = [temp.join('vm.raw'), temp.join('device'), temp.join('gone')]
  await writeFile(incompleteName(file), 'half')
  await writeFile(device, 'half')
  for (const target of [file, device, gone]) await noteDead(temp, target, null, { onto: true })
  const ofDevice = expect.stringContaining(`restore onto ${device} was cut off: what is there is neither`)
  const sentences = (await notes.settle()).toSorted()
  expect(sentences).toEqual([
    ofDevice,
    expect.stringContaining(`what is there, as ${incompleteName(file)}, is neither`),
  ])
  expect(await readFile(incompleteName(file), 'utf8')).toBe('half')
  expect(await notes.settle()).toEqual([ofDevice])
  await notes.completed(device)
  expect(await notesLeft(temp)).toEqual([])
})

test('a volume that cannot be removed now stays noted, and only volumes of restores are ever removed', async () => {
  await using temp = await tempFolder()
  const notes = RestoreNotes.in(temp.join('state'))
  await noteDead(temp, 'lvm:vg0/vm', null, { volume: 'no-such-group/varve-restore-0123456789abcdef' })
  await noteDead(temp, 'lvm:vg0/vm', null, { volume: 'vg0/precious' })
  const sentences = await notes.settle()
  // where LVM is installed it says that there is none
  expect(sentences.length).toBeLessThanOrEqual(1)
  for (const sentence of sentences) expect(sentence).toMatch(/^cannot remove the volume no-such-group\//u)
  expect((await notesLeft(temp)).length).toBe(1 + sentences.length)
})
