// Freezing through the guard process: the guest ends thawed whoever dies.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { pathToFileURL } from 'node:url'
import { resolve } from 'node:path'
import { expect, test } from 'vitest'
import { freezeGuest } from '../../../agent/guest/freezer.ts'
import { ScriptedGuestAgent } from '../../support/guest-agent.ts'
import { eventually, tempFolder } from '../../support/temp.ts'

const alive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

test('freezes, thaws when told, and the guard ends', async () => {
  await using folder = await tempFolder()
  const socketPath = folder.join('qga')
  await using agent = await ScriptedGuestAgent.listen(socketPath)
  const frozen = await freezeGuest({ socketPath, timeoutMs: 20_000 })
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
  const socketPath = folder.join('qga')
  await using agent = await ScriptedGuestAgent.listen(socketPath)
  const frozen = await freezeGuest({ socketPath, timeoutMs: 100 })
  await eventually(() => !agent.frozen)
  expect(await frozen.thaw()).toMatchObject({ inTime: false })
})

test('a guest that thawed by itself makes no consistent point', async () => {
  await using folder = await tempFolder()
  const socketPath = folder.join('qga')
  await using agent = await ScriptedGuestAgent.listen(socketPath, { selfThawMs: 50 })
  const frozen = await freezeGuest({ socketPath, timeoutMs: 20_000 })
  await eventually(() => !agent.frozen)
  expect(await frozen.thaw()).toMatchObject({ inTime: false })
})

test('a freeze that comes too late is reported at once and undone when it comes', async () => {
  await using folder = await tempFolder()
  const socketPath = folder.join('qga')
  await using agent = await ScriptedGuestAgent.listen(socketPath, { freezeDelayMs: 600 })
  await expect(freezeGuest({ socketPath, timeoutMs: 100 })).rejects.toMatchObject({ code: 'FREEZE_TIMEOUT' })
  await eventually(() => agent.commands.includes('guest-fsfreeze-thaw') && !agent.frozen)
})

test('a thaw that fails is tried again', async () => {
  await using folder = await tempFolder()
  const socketPath = folder.join('qga')
  await using agent = await ScriptedGuestAgent.listen(socketPath, { thawFailures: 2 })
  const frozen = await freezeGuest({ socketPath })
  expect(await frozen.thaw()).toMatchObject({ inTime: true })
  expect(agent.frozen).toBe(false)
})

test.each([
  [{ silent: true }, 'GUEST_AGENT_UNAVAILABLE'],
  [{ freezeError: 'failed to freeze /: Device or resource busy' }, 'GUEST_AGENT_ERROR'],
  [{ freezeCount: 0 }, 'GUEST_AGENT_ERROR'],
])('an agent with %j is %s', async (script, code) => {
  await using folder = await tempFolder()
  const socketPath = folder.join('qga')
  await using agent = await ScriptedGuestAgent.listen(socketPath, script)
  await expect(freezeGuest({ socketPath })).rejects.toMatchObject({ code })
  expect(agent.frozen).toBe(false)
})

test('a guest that someone else froze is refused and stays frozen', async () => {
  await using folder = await tempFolder()
  const socketPath = folder.join('qga')
  await using agent = await ScriptedGuestAgent.listen(socketPath, { frozenBefore: true })
  await expect(freezeGuest({ socketPath })).rejects.toMatchObject({ code: 'GUEST_AGENT_ERROR' })
  expect(agent.commands).not.toContain('guest-fsfreeze-thaw')
  expect(agent.frozen).toBe(true)
})

test('a guest that refused to freeze is not told to thaw, and can be asked again at once', async () => {
  await using folder = await tempFolder()
  const socketPath = folder.join('qga')
  await using agent = await ScriptedGuestAgent.listen(socketPath, { freezeError: 'disabled', thawFailures: 1000 })
  await expect(freezeGuest({ socketPath })).rejects.toMatchObject({ code: 'GUEST_AGENT_ERROR' })
  await expect(freezeGuest({ socketPath })).rejects.toMatchObject({ code: 'GUEST_AGENT_ERROR' })
  expect(agent.commands).not.toContain('guest-fsfreeze-thaw')
})

test('no socket, and a limit that is none', async () => {
  await using folder = await tempFolder()
  const socketPath = folder.join('none')
  await expect(freezeGuest({ socketPath })).rejects.toMatchObject({ code: 'GUEST_AGENT_UNAVAILABLE' })
  await expect(freezeGuest({ socketPath, timeoutMs: Number.NaN })).rejects.toMatchObject({ code: 'PARAMS_INVALID' })
})

test('when the agent is killed with SIGKILL the guest is thawed', async () => {
  await using folder = await tempFolder()
  const socketPath = folder.join('qga')
  await using agent = await ScriptedGuestAgent.listen(socketPath)
  const freezer = pathToFileURL(resolve('agent/guest/freezer.ts')).href
  const program = folder.join('victim.ts')
  await writeFile(
    program,
    `import { freezeGuest } from ${JSON.stringify(freezer)}
     const frozen = await freezeGuest({ socketPath: ${JSON.stringify(socketPath)}, timeoutMs: 60_000 })
     console.log(frozen.pid)
     setInterval(() => undefined, 1000)`,
  )
  const victim = spawn(process.execPath, [program], { stdio: ['ignore', 'pipe', 'inherit'] })
  const [line] = await once(createInterface({ input: victim.stdout }), 'line')
  const guard = Number(line)
  expect(agent.frozen).toBe(true)
  expect(alive(guard)).toBe(true)
  victim.kill('SIGKILL')
  await once(victim, 'exit')
  await eventually(() => !agent.frozen && !alive(guard))
})

test('when the guard is killed the agent thaws by itself', async () => {
  await using folder = await tempFolder()
  const socketPath = folder.join('qga')
  await using agent = await ScriptedGuestAgent.listen(socketPath)
  const frozen = await freezeGuest({ socketPath, timeoutMs: 60_000 })
  process.kill(frozen.pid, 'SIGKILL')
  expect(await frozen.thaw()).toMatchObject({ inTime: false })
  expect(agent.frozen).toBe(false)
})
