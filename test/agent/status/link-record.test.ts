// The record of the link: since when it is as it is, how often it came back, and why it was away.
import { expect, test } from 'vitest'
import { LinkRecord } from '../../../agent/status/link-record.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { HandClock } from '../../support/hand-clock.ts'

test('a link that comes, goes, cannot be had for a while, and comes back', () => {
  const clock = new HandClock(1000)
  const record = new LinkRecord(clock)
  expect(record.state).toEqual({ connected: false, sinceMs: null, reconnects: 0, lastError: null })
  record.down(new VarveError('CONNECTION_LOST', 'refused'))
  clock.advance(1000)
  record.up()
  expect(record.state).toMatchObject({ connected: true, sinceMs: 2000, reconnects: 0 })
  clock.advance(1000)
  record.down(new VarveError('HEARTBEAT_TIMEOUT', 'silent'))
  clock.advance(1000)
  record.down(new VarveError('CONNECTION_LOST', 'refused'))
  expect(record.state).toEqual({
    connected: false,
    sinceMs: 3000,
    reconnects: 0,
    lastError: { code: 'CONNECTION_LOST', message: 'refused', timeMs: 4000 },
  })
  clock.advance(1000)
  record.up()
  // why it was away stays known
  expect(record.state).toMatchObject({
    connected: true,
    sinceMs: 5000,
    reconnects: 1,
    lastError: { code: 'CONNECTION_LOST' },
  })
})
