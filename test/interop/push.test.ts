// Mode push, end to end: QEMU writes to the agent's process, which holds what is not durable at the gateway yet, whoever ends.
import { test, vi } from 'vitest'
import { Dice } from '../support/model-dice.ts'
import { disturbed } from './disturbed.ts'

// most of the time of these tests is waiting for bytes that are held back
vi.setConfig({ maxConcurrency: 2 })

test.concurrent('the agent is killed and started again: the backup goes on, with what QEMU wrote meanwhile', () =>
  disturbed(
    new Dice(71),
    async ({ host }) => {
      await host.end('SIGKILL')
      await host.start()
      await host.agent.says(/the backup continues after a restart/)
    },
    'push',
  ),
)

test.concurrent(
  'the gateway is killed and started again: nothing is lost, as what it had not durable is still there',
  () =>
    disturbed(
      new Dice(72),
      async ({ stand }) => {
        await stand.endGateway('SIGKILL')
        await stand.startGateway()
      },
      'push',
    ),
)
