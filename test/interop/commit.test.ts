// A break between the commit at the gateway and its acknowledgement at the agent: the point counts, on both sides;
// breaks.test.ts has more of them.
import { test, vi } from 'vitest'
import { brokenAtCommit } from './late-commit.ts'

vi.setConfig({ maxConcurrency: 2 })

test.concurrent('the agent is killed', () =>
  brokenAtCommit(async (_, host) => {
    await host.end('SIGKILL')
    host.link.hear()
    await host.start()
  }),
)

test.concurrent('the gateway is killed', () =>
  brokenAtCommit(async (stand, host) => {
    await stand.endGateway('SIGKILL')
    host.link.hear()
    await stand.startGateway()
  }),
)
