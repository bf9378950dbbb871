// A machine is gone when none of its sockets has been there for long enough.
import { expect, test } from 'vitest'
import { isAway, machineGone } from '../../../agent/guest/machine-gone.ts'
import { ScriptedGuestAgent } from '../../support/guest-agent.ts'
import { tempFolder } from '../../support/temp.ts'

test('no file and nobody behind it are away; one socket that is there is enough', async () => {
  await using folder = await tempFolder()
  await using agent = await ScriptedGuestAgent.listen(folder.join('qga'))
  expect(await isAway(folder.join('none'))).toBe(true)
  expect(await isAway(folder.path)).toBe(true)
  expect(await isAway(agent.socketPath)).toBe(false)
  const running = new AbortController()
  await machineGone([folder.join('none'), folder.join('none-either')], running.signal, 100)
  let gone = false
  const watching = machineGone([folder.join('none'), agent.socketPath], running.signal, 100).then(() => (gone = true))
  await machineGone([folder.join('none')], running.signal, 500)
  expect(gone).toBe(false)
  running.abort()
  await watching
})
