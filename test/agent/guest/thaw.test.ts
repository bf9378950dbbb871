// Thawing what an agent left frozen.

import { expect, test } from 'vitest'
import { thawIfFrozen, thawVerified } from '../../../agent/guest/thaw.ts'
import { ScriptedGuestAgent } from '../../support/guest-agent.ts'
import { tempFolder } from '../../support/temp.ts'

test('thaws a frozen guest, leaves a thawed one alone', async () => {
  await using folder = await tempFolder()
  await using left = await ScriptedGuestAgent.listen(folder.join('a'), { frozenBefore: true, thawFailures: 1 })
  expect(await thawIfFrozen(folder.join('a'))).toBe(true)
  expect(left.frozen).toBe(false)
  await using well = await ScriptedGuestAgent.listen(folder.join('b'))
  expect(await thawIfFrozen(folder.join('b'))).toBe(false)
  expect(well.commands).not.toContain('guest-fsfreeze-thaw')
})

test('gives up after the limit with the last error', async () => {
  await using folder = await tempFolder()
  await using agent = await ScriptedGuestAgent.listen(folder.join('a'), { frozenBefore: true, thawFailures: 1000 })
  await expect(thawVerified({ socketPath: agent.socketPath, limitMs: 100 })).rejects.toMatchObject({
    code: 'GUEST_AGENT_ERROR',
  })
  // nothing listens: there is no guest, and nothing to wait for
  await expect(thawVerified({ socketPath: folder.join('none') })).rejects.toMatchObject({
    code: 'GUEST_AGENT_UNAVAILABLE',
  })
  await expect(thawIfFrozen(folder.join('none'))).rejects.toMatchObject({ code: 'GUEST_AGENT_UNAVAILABLE' })
})
