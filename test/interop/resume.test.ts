// A backup that is cut in the middle goes on where it was acknowledged, and neither guest nor point notices; breaks.test.ts has
// more ways to cut it.
import { expect, test, vi } from 'vitest'
import { Dice } from '../support/model-dice.ts'
import { MIB } from '../support/model-machine.ts'
import { eventually } from '../support/temp.ts'
import { disturbed, scene } from './disturbed.ts'

// most of the time of these tests is waiting for bytes that are held back
vi.setConfig({ maxConcurrency: 2 })

test.concurrent('after the agent is killed and started again', () =>
  disturbed(new Dice(61), async ({ host }) => {
    await host.end('SIGKILL')
    await host.start()
    await host.agent.says(/the backup continues after a restart/)
  }),
)

test.concurrent('the command follows its backup over a break of the link', async () => {
  await using at = await scene(new Dice(65))
  const command = at.host.command('backup', 'db1', '--json')
  const peer = await at.stand.peer()
  const { id } = await eventually(async () =>
    (await peer.call('jobs.list', { machine: 'db1', limit: 1 })).jobs.find(({ state }) => state === 'running'),
  )
  await at.stand.durable(id, 4 * MIB)
  at.host.link.cut()
  const { code, stdout } = await command.ended
  expect(code).toBe(0)
  expect(JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '')).toMatchObject({ point: { id, kind: 'full' } })
})
