// Freezing through the guard process: the guest ends thawed whoever dies.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { rm, writeFile } from 'node:fs/promises'
import { pathToFileURL } from 'node:url'
import { resolve } from 'node:path'
import { describe, expect, test } from 'vitest'
import { FreezeNotes } from '../../../agent/guest/freeze-notes.ts'
import { freezeGuest, type FrozenGuest } from '../../../agent/guest/freezer.ts'
import { Thawer } from '../../../agent/guest/thawer.ts'
import { processState } from '../../../agent/process-mark.ts'
import { ScriptedGuestAgent, type GuestAgentScript } from '../../support/guest-agent.ts'
import { eventually, tempFolder, type TempFolder } from '../../support/temp.ts'

const alive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

const quiet = { info: () => undefined, warn: () => undefined }

/** Freezes by the notes in `folder`, as the one agent there does. */
const freeze = (folder: TempFolder, timeoutMs?: number): Promise<FrozenGuest> =>
  freezeGuest({
    guestAgent: folder.join('qga'),
    machine: 'db1',
    qmp: folder.join('qmp'),
    lease: 'lease',
    thawer: new Thawer({ notes: FreezeNotes.in(folder.path), log: quiet }),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
  })

const notes = (folder: TempFolder) => FreezeNotes.in(folder.path).list()

/** Until no freeze is noted any more. */
const resolved = (folder: TempFolder) => eventually(async () => (await notes(folder)).length === 0)

test('freezes, thaws when told, and the guard ends', async () => {
  await using folder = await tempFolder()
  await using agent = await ScriptedGuestAgent.listen(folder.join('qga'))
  const frozen = await freeze(folder, 20_000)
  expect(agent.frozen).toBe(true)
  const thaw = await frozen.thaw()
  expect(thaw.inTime).toBe(true)
  expect(thaw.frozenMs).toBeGreaterThan(0)
  expect(agent.frozen).toBe(false)
  expect(agent.commands).toEqual([
    'guest-sync-delimited',
    'guest-fsfreeze-status',
    'guest-fsfreeze-freeze',
    'guest-fsfreeze-thaw',
    'guest-fsfreeze-status',
  ])
  await eventually(() => !alive(frozen.pid))
})

test('at the time limit the guest is thawed and the point is not consistent', async () => {
  await using folder = await tempFolder()
  await using agent = await ScriptedGuestAgent.listen(folder.join('qga'))
  const frozen = await freeze(folder, 100)
  await eventually(() => !agent.frozen)
  expect(await frozen.thaw()).toMatchObject({ inTime: false })
})

test('a guest that thawed by itself makes no consistent point', async () => {
  await using folder = await tempFolder()
  await using agent = await ScriptedGuestAgent.listen(folder.join('qga'), { selfThawMs: 50 })
  const frozen = await freeze(folder, 20_000)
  await eventually(() => !agent.frozen)
  expect(await frozen.thaw()).toMatchObject({ inTime: false })
})

test('a freeze that comes too late is reported at once and undone when it comes', async () => {
  await using folder = await tempFolder()
  await using agent = await ScriptedGuestAgent.listen(folder.join('qga'), { freezeDelayMs: 600 })
  await expect(freeze(folder, 100)).rejects.toMatchObject({ code: 'FREEZE_TIMEOUT' })
  await eventually(() => agent.commands.includes('guest-fsfreeze-thaw') && !agent.frozen)
})

test('a thaw that fails is tried again', async () => {
  await using folder = await tempFolder()
  await using agent = await ScriptedGuestAgent.listen(folder.join('qga'), { thawFailures: 2 })
  const frozen = await freeze(folder)
  expect(await frozen.thaw()).toMatchObject({ inTime: true })
  expect(agent.frozen).toBe(false)
})

test.each([
  [{ silent: true }, 'GUEST_AGENT_UNAVAILABLE'],
  [{ freezeError: 'failed to freeze /: Device or resource busy' }, 'GUEST_AGENT_ERROR'],
  [{ freezeCount: 0 }, 'GUEST_AGENT_ERROR'],
])('an agent with %j is %s', async (script, code) => {
  await using folder = await tempFolder()
  await using agent = await ScriptedGuestAgent.listen(folder.join('qga'), script)
  await expect(freeze(folder)).rejects.toMatchObject({ code })
  expect(agent.frozen).toBe(false)
})

test('a guest that someone else froze is refused and stays frozen', async () => {
  await using folder = await tempFolder()
  await using agent = await ScriptedGuestAgent.listen(folder.join('qga'), { frozenBefore: true })
  await expect(freeze(folder)).rejects.toMatchObject({ code: 'GUEST_AGENT_ERROR' })
  expect(agent.commands).not.toContain('guest-fsfreeze-thaw')
  expect(agent.frozen).toBe(true)
  expect(await notes(folder)).toEqual([])
})

test('a guest that refused to freeze is not told to thaw, and can be asked again at once', async () => {
  await using folder = await tempFolder()
  await using agent = await ScriptedGuestAgent.listen(folder.join('qga'), {
    freezeError: 'disabled',
    thawFailures: 1000,
  })
  await expect(freeze(folder)).rejects.toMatchObject({ code: 'GUEST_AGENT_ERROR' })
  await expect(freeze(folder)).rejects.toMatchObject({ code: 'GUEST_AGENT_ERROR' })
  expect(agent.commands).not.toContain('guest-fsfreeze-thaw')
})

test('no socket, a limit that is none, and notes that cannot be written: nothing is frozen', async () => {
  await using folder = await tempFolder()
  await expect(freeze(folder)).rejects.toMatchObject({ code: 'GUEST_AGENT_UNAVAILABLE' })
  await expect(freeze(folder, Number.NaN)).rejects.toMatchObject({ code: 'PARAMS_INVALID' })
  await using agent = await ScriptedGuestAgent.listen(folder.join('qga'))
  await writeFile(folder.join('freezes'), 'a file in the way')
  await expect(freeze(folder)).rejects.toMatchObject({ message: expect.stringContaining('could not be noted') })
  expect(agent.commands).not.toContain('guest-fsfreeze-freeze')
})

test('a guest whose earlier freeze is not undone is not frozen again', async () => {
  await using folder = await tempFolder()
  const { promise: freezeHeld, resolve: letFreeze } = Promise.withResolvers<void>()
  await using agent = await ScriptedGuestAgent.listen(folder.join('qga'), { freezeHeld, thawFailures: Infinity })
  await expect(freeze(folder, 100)).rejects.toMatchObject({ code: 'FREEZE_TIMEOUT' })
  expect(await notes(folder)).toMatchObject([{ machine: 'db1', lease: 'lease', guestAgent: folder.join('qga') }])
  letFreeze()
  await eventually(() => agent.frozen)
  await expect(freeze(folder)).rejects.toMatchObject({ code: 'GUEST_AGENT_ERROR' })
  agent.thawFailures = 0
  await resolved(folder)
  expect(agent.frozen).toBe(false)
  expect(agent.commands.filter((command) => command === 'guest-fsfreeze-freeze')).toHaveLength(1)
})

test('a guest whose socket goes away in the freeze is thawed when it is back', async () => {
  await using folder = await tempFolder()
  await using agent = await ScriptedGuestAgent.listen(folder.join('qga'))
  const frozen = await freeze(folder)
  await agent.away()
  const thawing = frozen.thaw()
  await eventually(() => !agent.frozen, 1_000).catch(() => undefined)
  expect(agent.frozen).toBe(true)
  await agent.back()
  await thawing
  expect(agent.frozen).toBe(false)
  await resolved(folder)
})

test('a freezer whose note is removed thaws all the same', async () => {
  await using folder = await tempFolder()
  await using agent = await ScriptedGuestAgent.listen(folder.join('qga'))
  const frozen = await freeze(folder)
  await rm(folder.join('freezes'), { recursive: true })
  await agent.away()
  const thawing = frozen.thaw()
  await agent.back()
  await thawing
  expect(agent.frozen).toBe(false)
})

/** The freezer's process, once the note of the freeze names it: the note is there before the process is. */
const notedFreezer = (folder: TempFolder) => eventually(async () => (await notes(folder))[0]?.freezer)

/** A process that freezes the guest and then waits to be killed; `freezer` is its freezer. */
const startVictim = async (folder: TempFolder) => {
  const [freezerModule, notesModule, thawerModule] = ['freezer', 'freeze-notes', 'thawer'].map((name) =>
    JSON.stringify(pathToFileURL(resolve(`agent/guest/${name}.ts`)).href),
  )
  const program = folder.join('victim.ts')
  await writeFile(
    program,
    `import { freezeGuest } from ${freezerModule}
     import { FreezeNotes } from ${notesModule}
     import { Thawer } from ${thawerModule}
     const log = { info: () => undefined, warn: () => undefined }
     const thawer = new Thawer({ notes: FreezeNotes.in(${JSON.stringify(folder.path)}), log })
     const guest = { guestAgent: ${JSON.stringify(folder.join('qga'))}, machine: 'db1', qmp: '/nowhere', lease: 'lease' }
     setInterval(() => undefined, 1000)
     await freezeGuest({ ...guest, timeoutMs: 60_000, thawer })`,
  )
  const child = spawn(process.execPath, [program], { stdio: ['ignore', 'ignore', 'inherit'] })
  const freezer = await notedFreezer(folder)
  const kill = async (): Promise<void> => {
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
  return { kill, freezer }
}

test('when the agent is killed with SIGKILL the guest is thawed', async () => {
  await using folder = await tempFolder()
  await using agent = await ScriptedGuestAgent.listen(folder.join('qga'))
  const victim = await startVictim(folder)
  await eventually(() => agent.frozen)
  expect(processState(victim.freezer)).toBe('running')
  await victim.kill()
  await eventually(() => !agent.frozen && processState(victim.freezer) === 'gone')
  await resolved(folder)
})

describe.each<[string, GuestAgentScript]>([
  ['between the freeze command and its answer', { freezeDelayMs: 1_500 }],
  ['in the freeze', {}],
])('when the freezer is killed %s', (_when, script) => {
  const inFreeze = (agent: ScriptedGuestAgent): Promise<boolean> =>
    eventually(
      () => agent.commands.includes('guest-fsfreeze-freeze') && (script.freezeDelayMs !== undefined || agent.frozen),
    )

  test('the agent thaws by itself, without being told', async () => {
    await using folder = await tempFolder()
    await using agent = await ScriptedGuestAgent.listen(folder.join('qga'), { ...script, oneClient: true })
    const freezing = freeze(folder, 60_000)
    freezing.catch(() => undefined)
    const { pid } = await notedFreezer(folder)
    await inFreeze(agent)
    if (script.freezeDelayMs === undefined) await freezing
    process.kill(pid, 'SIGKILL')
    await resolved(folder)
    expect(agent.commands).toContain('guest-fsfreeze-thaw')
    expect(agent.frozen).toBe(false)
    const ended = await freezing.then(
      (frozen) => frozen.thaw(),
      (error: unknown) => error,
    )
    expect(ended).toMatchObject(script.freezeDelayMs === undefined ? { inTime: false } : { code: 'GUEST_AGENT_ERROR' })
  })

  test.each(['SIGKILL', 'SIGSTOP'] as const)('(%s) and the agent too, the next start thaws', async (signal) => {
    await using folder = await tempFolder()
    await using agent = await ScriptedGuestAgent.listen(folder.join('qga'), { ...script, oneClient: true })
    const victim = await startVictim(folder)
    await inFreeze(agent)
    process.kill(victim.freezer.pid, signal)
    await victim.kill()
    await eventually(() => agent.frozen)
    await using next = new Thawer({ notes: FreezeNotes.in(folder.path), log: quiet })
    next.start()
    await resolved(folder)
    expect(agent.frozen).toBe(false)
    expect(processState(victim.freezer)).toBe('gone')
  })
})

test('a freezer that is stopped does not keep the guest frozen: the agent ends it and thaws', async () => {
  await using folder = await tempFolder()
  await using agent = await ScriptedGuestAgent.listen(folder.join('qga'), { oneClient: true })
  const frozen = await freeze(folder, 60_000)
  process.kill(frozen.pid, 'SIGSTOP')
  expect(await frozen.thaw()).toMatchObject({ inTime: false })
  expect(agent.frozen).toBe(false)
  await eventually(() => !alive(frozen.pid))
  await resolved(folder)
})
