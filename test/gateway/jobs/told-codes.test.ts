// Whose fault the end of a job is said to be.
import { expect, test } from 'vitest'
import { ToldCodes } from '../../../gateway/jobs/told-codes.ts'
import { VarveError } from '../../../protocol/errors.ts'

test('a fault of the gateway is believed where the job met it, and once', () => {
  const told = new ToldCodes()
  told.note('a', new VarveError('STORE_FULL', 'full'))
  expect(told.ended('b', 'STORE_FULL', 'full')).toMatchObject({
    code: 'PEER_FAILED',
    message: 'the other side failed (STORE_FULL): full',
  })
  expect(told.ended('a', 'STORE_FULL', 'full')).toMatchObject({ code: 'STORE_FULL', message: 'full' })
  expect(told.ended('a', 'STORE_FULL', 'full').code).toBe('PEER_FAILED')
})

test('what says who somebody is, or that the catalog is damaged, is never an agent’s to say; its own failures are', () => {
  const told = new ToldCodes()
  for (const code of ['CATALOG_DAMAGED', 'TOKEN_REVOKED', 'AGENT_REVOKED', 'ROLE_FORBIDDEN', 'INTERNAL', '__proto__'])
    expect(told.ended('a', code, 'x').code).toBe('PEER_FAILED')
  for (const code of ['LEASE_LOST', 'QMP_TIMEOUT', 'CANCELLED', 'CONNECTION_LOST', 'FULL_REFUSED'])
    expect(told.ended('a', code, 'x').code).toBe(code)
})

test('only the last jobs are remembered', () => {
  const told = new ToldCodes()
  for (let job = 0; job < 5000; job++) told.note(`${job}`, new VarveError('STORE_FULL', 'full'))
  expect(told.ended('0', 'STORE_FULL', 'full').code).toBe('PEER_FAILED')
  expect(told.ended('4999', 'STORE_FULL', 'full').code).toBe('STORE_FULL')
})
