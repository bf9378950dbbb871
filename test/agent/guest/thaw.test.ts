// Thawing a guest that was left frozen, however it answers.

import { expect, test } from 'vitest'
import { GuestChannel } from '../../../agent/guest/channel.ts'
import { thawVerified } from '../../../agent/guest/thaw.ts'
import { ScriptedGuestAgent } from '../../support/guest-agent.ts'
import { eventually, tempFolder } from '../../support/temp.ts'

test('thaws a frozen guest, leaves a thawed one alone, and one that somebody else has a use for', async () => {
  await using folder = await tempFolder()
  await using left = await ScriptedGuestAgent.listen(folder.join('a'), { frozenBefore: true, thawFailures: 1 })
  expect(await thawVerified({ guestAgent: left.socketPath })).toBeGreaterThan(0)
  expect(left.frozen).toBe(false)
  await using well = await ScriptedGuestAgent.listen(folder.join('b'))
  expect(await thawVerified({ guestAgent: well.socketPath })).toBe(0)
  expect(well.commands).not.toContain('guest-fsfreeze-thaw')
  await using other = await ScriptedGuestAgent.listen(folder.join('c'), { frozenBefore: true })
  expect(await thawVerified({ guestAgent: other.socketPath, wanted: async () => false })).toBe(0)
  expect(other.frozen).toBe(true)
})

test('a guest that needs longer for each answer than the first attempts wait', async () => {
  await using folder = await tempFolder()
  const script = { frozenBefore: true, answerDelayMs: 3_200 }
  await using agent = await ScriptedGuestAgent.listen(folder.join('a'), script)
  const retries: unknown[] = []
  const options = { guestAgent: agent.socketPath, onRetry: (error: unknown) => void retries.push(error) }
  expect(await thawVerified(options)).toBeGreaterThan(0)
  expect(retries.length).toBeGreaterThan(0)
  expect(agent.frozen).toBe(false)
})

test('waits for a guest whose socket is away, until it comes back or the signal says otherwise', async () => {
  await using folder = await tempFolder()
  await using agent = await ScriptedGuestAgent.listen(folder.join('a'), { frozenBefore: true })
  await agent.away()
  const stopping = new AbortController()
  const none = thawVerified({ guestAgent: folder.join('none'), signal: stopping.signal })
  let tried = 0
  const thawing = thawVerified({ guestAgent: agent.socketPath, onRetry: () => void (tried += 1) })
  await eventually(() => tried >= 3)
  await agent.back()
  expect(await thawing).toBeGreaterThan(0)
  stopping.abort(new Error('over'))
  await expect(none).rejects.toThrow('over')
})

test('a guest that cannot say whether it is frozen is told to thaw', async () => {
  await using folder = await tempFolder()
  await using agent = await ScriptedGuestAgent.listen(folder.join('a'), { frozenBefore: true, statusFailures: 1 })
  await thawVerified({ guestAgent: agent.socketPath })
  expect(agent.frozen).toBe(false)
})

test('a freeze that was not answered is outlasted on its own channel', async () => {
  await using folder = await tempFolder()
  const script = { freezeDelayMs: 800, oneClient: true }
  await using agent = await ScriptedGuestAgent.listen(folder.join('a'), script)
  const channel = await GuestChannel.open({ socketPath: agent.socketPath })
  const options = { timeoutMs: 50, keepOpen: true }
  await expect(channel.execute('guest-fsfreeze-freeze', options)).rejects.toMatchObject({
    code: 'GUEST_AGENT_UNAVAILABLE',
  })
  const freeze = { channel, state: 'unanswered' } as const
  expect(await thawVerified({ guestAgent: agent.socketPath, freeze })).toBeGreaterThan(0)
  expect(agent.frozen).toBe(false)
  expect(agent.commands.filter((command) => command === 'guest-sync-delimited')).toHaveLength(2)
})
