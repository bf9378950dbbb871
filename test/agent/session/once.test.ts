// A session of a host whose clock is wrong.
import { expect, test } from 'vitest'
import { systemClock } from '../../../protocol/host/clock.ts'
import { parseConfig } from '../../../agent/config.ts'
import { concernsOf } from '../../../agent/session/concerns.ts'
import { connect } from '../../../agent/session/once.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { startGateway } from '../../support/gateway.ts'
import { tempFolder } from '../../support/temp.ts'

test.each([40_000, 3_600_000, -3_600_000])(
  'a clock that is %d ms ahead is said, and keeps no agent out',
  async (aheadMs) => {
    await using temp = await tempFolder()
    let behindMs = 0
    const clock = { ...systemClock, now: () => Date.now() - behindMs }
    await using gateway = await startGateway({ folder: temp.join('data'), clock })
    const identity = await gateway.enrolAgent(temp.join('state'))
    behindMs = aheadMs
    const config = parseConfig('test', `gateway = "${gateway.url}"`)
    const session = await connect(config, identity, { serving: false, handlers: {} })
    expect((await session.peer.call('machines.list', {})).machines).toEqual([])
    await session.peer.call('session.renew', { token: await identity.assertion(Date.now()) })
    const how = aheadMs > 0 ? 'ahead of' : 'behind'
    expect(concernsOf(session, Date.now())).toEqual([
      expect.stringMatching(`^this host's clock is .* ${how} the gateway's`),
    ])
    session.peer.close(new VarveError('CANCELLED', 'over'))
  },
)
