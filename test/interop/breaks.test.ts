// Backups that are broken in the middle and at their commit, in the ways that resume.test.ts and commit.test.ts leave out.
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test, vi } from 'vitest'
import { Dice } from '../support/model-dice.ts'
import { disturbed } from './disturbed.ts'
import { brokenAtCommit } from './late-commit.ts'

// most of the time of these tests is waiting for bytes that are held back
vi.setConfig({ maxConcurrency: 3 })

describe('a backup goes on where it was acknowledged', () => {
  test.concurrent('after the link stalls for a while and breaks twice', () =>
    disturbed(new Dice(60), async ({ host }) => {
      host.link.stall()
      await sleep(1000)
      host.link.flow()
      host.link.cut()
      await host.agent.says(/the gateway is away[^]*connected to the gateway/)
      host.link.cut()
    }),
  )

  test.concurrent('after the agent is stopped and started again', () =>
    disturbed(new Dice(62), async ({ host }) => {
      expect((await host.end('SIGTERM')).code).toBe(0)
      await host.start()
      await host.agent.says(/the backup continues after a restart/)
    }),
  )

  test.concurrent('after the gateway is killed and started again', () =>
    disturbed(new Dice(63), async ({ stand }) => {
      await stand.endGateway('SIGKILL')
      await stand.startGateway()
    }),
  )

  test.concurrent('after the gateway is stopped and started again', () =>
    disturbed(new Dice(64), async ({ stand }) => {
      expect((await stand.endGateway('SIGTERM')).code).toBe(0)
      await stand.startGateway()
    }),
  )
})

describe('a point counts on both sides whose commit is not acknowledged', () => {
  test.concurrent('as the agent is stopped', () =>
    brokenAtCommit(async (_, host) => {
      await host.end('SIGTERM')
      host.link.hear()
      await host.start()
    }),
  )

  test.concurrent('as the link breaks', () =>
    brokenAtCommit(async (_, host) => {
      host.link.hear()
    }),
  )
})
