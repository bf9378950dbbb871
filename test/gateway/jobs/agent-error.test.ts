// What agents answer, as those see it who asked: the end of a connection, failures, and codes that an agent has no right to.
import { expect, test } from 'vitest'
import { agentError, answerOf } from '../../../gateway/jobs/agent-error.ts'
import { ERRORS, VarveError, type ErrorCode } from '../../../protocol/errors.ts'
import type { Peer } from '../../../protocol/peer.ts'

const OVER = { isOver: true }
const ALIVE = { isOver: false }

test('what ends the agent’s connection is not said of the caller’s', () => {
  for (const code of ['CONNECTION_LOST', 'GOING_AWAY', 'REPLACED', 'FRAME_INVALID', 'AGENT_REVOKED'] as const)
    expect(agentError(new VarveError(code, 'x'), OVER).code).toBe('AGENT_OFFLINE')
})

test('an end that an agent only tells of is its failure, while its connection goes on', () => {
  for (const code of ['GOING_AWAY', 'TOKEN_EXPIRED', 'REPLACED', 'FRAME_INVALID'] as const)
    expect(agentError(new VarveError(code, 'says it', { details: { a: 1 } }), ALIVE)).toMatchObject({
      code: 'PEER_FAILED',
      message: `the other side failed (${code}): says it`,
      details: { a: 1, code },
    })
})

test('what speaks of the gateway is the agent’s failure where an agent answers it', () => {
  for (const code of ['STORE_FULL', 'STORE_FAILED', 'DATA_DAMAGED', 'CATALOG_DAMAGED', 'ROLE_FORBIDDEN'] as const)
    for (const peer of [OVER, ALIVE])
      expect(agentError(new VarveError(code, 'x'), peer)).toMatchObject({ code: 'PEER_FAILED', details: { code } })
})

test('what speaks of the machine stays as it is, and a fault of ours is ours', async () => {
  for (const code of ['QMP_ERROR', 'LEASE_HELD', 'DEADLINE_EXCEEDED', 'PEER_FAILED', 'NOT_FOUND'] as const)
    expect(agentError(new VarveError(code, 'x'), ALIVE)).toMatchObject({ code, message: 'x' })
  expect(agentError(new Error('x'), ALIVE).code).toBe('INTERNAL')
  const peer = ALIVE as Peer
  expect(await answerOf(peer, Promise.resolve(7))).toBe(7)
  await expect(answerOf(peer, Promise.reject(new VarveError('STORE_FULL', 'x')))).rejects.toMatchObject({
    code: 'PEER_FAILED',
  })
})

test('no code that an agent can say ends the caller’s connection', () => {
  for (const code of Object.keys(ERRORS) as ErrorCode[])
    for (const peer of [OVER, ALIVE]) expect(agentError(new VarveError(code, 'x'), peer).endsConnection).toBe(false)
})
