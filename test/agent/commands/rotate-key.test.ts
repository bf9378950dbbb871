// A new key for an agent, broken off at each step: it can always connect, with whichever key the gateway knows.
import { readdir, readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { rotateKey } from '../../../agent/commands/rotate-key.ts'
import { parseConfig } from '../../../agent/config.ts'
import { Identity } from '../../../agent/identity.ts'
import { connect } from '../../../agent/session/once.ts'
import { VarveError } from '../../../protocol/errors.ts'
import type { Peer } from '../../../protocol/peer.ts'
import { startGateway, type TestGateway } from '../../support/gateway.ts'
import { tempFolder } from '../../support/temp.ts'
import { codeOf } from '../restore/code-of.ts'

const DONE = new VarveError('CANCELLED', 'done')

const keysIn = async (state: string): Promise<string[]> =>
  (await readdir(state)).filter((name) => name.endsWith('.key')).map((name) => name.replace(/^agent-.{36}/u, ''))

/** A process that knows only what lies on disk connects, and works for a while. */
const connected = async <R>(
  gateway: TestGateway,
  state: string,
  work: (peer: Peer, identity: Identity) => Promise<R>,
): Promise<R> => {
  const identity = await Identity.load(state)
  const config = parseConfig('test', `gateway = "${gateway.url}"`)
  const { peer } = await connect(config, identity, { serving: false, handlers: {} })
  try {
    return await work(peer, identity)
  } finally {
    peer.close(DONE)
  }
}

const look = (gateway: TestGateway, state: string): Promise<unknown> =>
  connected(gateway, state, (peer) => peer.call('machines.list', {}))

test('a key is rotated: the old one opens no session, a process that runs takes the new one', async () => {
  await using temp = await tempFolder()
  await using gateway = await startGateway({ folder: temp.join('data') })
  const state = temp.join('state')
  const running = await gateway.enrolAgent(state)
  const old = await running.assertion(Date.now())
  await connected(gateway, state, (peer, identity) => rotateKey(identity, (name, params) => peer.call(name, params)))
  expect(await keysIn(state)).toEqual(['.key'])
  expect(await codeOf(gateway.connectAs(old))).toBe('TOKEN_SIGNATURE')
  const peer = await gateway.connectAs(await running.assertion(Date.now()))
  peer.close(DONE)
})

test('killed at each step it leaves an agent that can connect, and a rotation that goes on when it is run again', async () => {
  await using temp = await tempFolder()
  await using gateway = await startGateway({ folder: temp.join('data') })
  const state = temp.join('state')
  const { record } = await gateway.enrolAgent(state)
  // before the gateway is told
  const first = await (await Identity.load(state)).prepareNext()
  await look(gateway, state)
  expect(await keysIn(state)).toEqual(['.key', '.next.key'])
  // told, and killed before the key is kept: the same key as before
  await connected(gateway, state, async (peer, identity) => {
    const publicKey = await identity.prepareNext()
    expect(publicKey).toBe(first)
    await peer.call('agents.rotateKey', { publicKey })
    // an answer that was lost: told again
    await peer.call('agents.rotateKey', { publicKey })
  })
  await look(gateway, state)
  expect(await keysIn(state)).toEqual(['.key'])
  expect(JSON.parse(await readFile(`${state}/agent-${record.agentId}.key`, 'utf8'))).toMatchObject({ x: first })
  // and once more to the end
  const next = await connected(gateway, state, (peer, identity) =>
    rotateKey(identity, (name, params) => peer.call(name, params)),
  )
  expect(next).not.toBe(first)
  await look(gateway, state)
})
