// x
import { expect, test } from 'vitest'
import { startGateway } from '../../support/gateway.ts'
import { tempFolder } from '../../support/temp.ts'
test('x', async () => {
  await using temp = await tempFolder()
  await using gateway = await startGateway({ folder: temp.join('data') })
  const peer = await gateway.connectAs(await gateway.tokenFor('viewer'))
  expect(await peer.call('points.list', { machine: null, beforeMs: null, limit: 10 })).toEqual({ points: [] })
  const identity = await gateway.enrolAgent(temp.join('state'))
  const agent = await gateway.connectAgent(identity, ['db1'])
  expect((await peer.call('machines.list', {})).machines.map((m) => m.name)).toEqual(['db1'])
  void agent
})
