// The thawer: every noted freeze is undone by somebody, and nobody works against a freezer that does its work.
import { spawn } from 'node:child_process'
import { expect, test } from 'vitest'
import { FreezeNotes, type FreezeNote } from '../../../agent/guest/freeze-notes.ts'
import { Thawer } from '../../../agent/guest/thawer.ts'
import { markProcess } from '../../../agent/process-mark.ts'
import { ScriptedGuestAgent } from '../../support/guest-agent.ts'
import { eventually, tempFolder } from '../../support/temp.ts'

const log = { info: () => undefined, warn: () => undefined }

const noteOf = (guestAgent: string, freezer: FreezeNote['freezer']): FreezeNote => ({
  version: 1,
  id: guestAgent,
  guestAgent,
  machine: 'a machine that is configured nowhere',
  qmp: '/nowhere/qmp',
  lease: 'lease',
  freezer,
  sinceMs: 1,
})

test('leaves a freeze to its living freezer, and takes it over when that one ends', async () => {
  await using folder = await tempFolder()
  const notes = FreezeNotes.in(folder.path)
  await using guest = await ScriptedGuestAgent.listen(folder.join('a'), { frozenBefore: true })
  await using second = await ScriptedGuestAgent.listen(folder.join('b'), { frozenBefore: true })
  const freezer = spawn('sleep', ['1000'])
  await notes.create(noteOf(guest.socketPath, markProcess(freezer.pid)))
  await using thawer = new Thawer({ notes, log })
  thawer.start()
  expect(await thawer.isClear(guest.socketPath, 300)).toBe(false)
  await notes.create(noteOf(second.socketPath, null))
  await eventually(() => !second.frozen)
  expect(guest.frozen).toBe(true)
  freezer.kill('SIGKILL')
  await eventually(() => !guest.frozen)
  expect(await thawer.isClear(guest.socketPath, 10_000)).toBe(true)
  expect(await notes.list()).toEqual([])
})

test('takes over by force what somebody has no more use for, and waits no longer than it is told', async () => {
  await using folder = await tempFolder()
  const notes = FreezeNotes.in(folder.path)
  await using guest = await ScriptedGuestAgent.listen(folder.join('a'), { frozenBefore: true })
  const freezer = spawn('sleep', ['1000'])
  const mark = markProcess(freezer.pid)
  await notes.create(noteOf(guest.socketPath, mark))
  await notes.create(noteOf(folder.join('none'), null))
  await using thawer = new Thawer({ notes, log })
  await thawer.takeOver(({ guestAgent }) => guestAgent === guest.socketPath, 20_000)
  expect(guest.frozen).toBe(false)
  await eventually(() => freezer.signalCode === 'SIGKILL')
  await thawer.takeOver(() => true, 100)
  expect(await notes.list()).toMatchObject([{ guestAgent: folder.join('none') }])
  await notes.remove((await notes.list())[0]!)
})

test('an agent that ends leaves what is not undone to a process that outlives it', async () => {
  await using folder = await tempFolder()
  const notes = FreezeNotes.in(folder.path)
  await using guest = await ScriptedGuestAgent.listen(folder.join('a'), { frozenBefore: true, thawFailures: 1 })
  await guest.away()
  await notes.create(noteOf(guest.socketPath, null))
  {
    await using thawer = new Thawer({ notes, log })
    thawer.start()
    await thawer.isClear(guest.socketPath, 100)
  }
  const { freezer } = await eventually(async () => (await notes.list()).find((note) => note.freezer !== null))
  expect(freezer?.pid).not.toBe(process.pid)
  await guest.back()
  await eventually(async () => !guest.frozen && (await notes.list()).length === 0)
})
