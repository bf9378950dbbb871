// The certificate authority that the configuration names, and a session of a host whose clock is wrong.
import { readFile, writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { systemClock } from '../../../protocol/host/clock.ts'
import { parseConfig } from '../../../agent/config.ts'
import { concernsOf } from '../../../agent/session/concerns.ts'
import { connect, readCa } from '../../../agent/session/once.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { makeCertificate } from '../../support/certificates.ts'
import { startGateway } from '../../support/gateway.ts'
import { tempFolder } from '../../support/temp.ts'
import { failureOf } from '../restore/code-of.ts'

test('a configured certificate authority is read, and named with what is wrong when it cannot be', async () => {
  await using temp = await tempFolder()
  const pair = await makeCertificate(temp.path, 'ca')
  expect(await readCa(undefined)).toBe(null)
  expect(await readCa(pair.cert)).toEqual(await readFile(pair.cert))
  await writeFile(temp.join('empty.pem'), '')
  await writeFile(temp.join('text.pem'), 'PEM')
  for (const [file, says] of [
    [temp.join('gone.pem'), 'gone.pem: it does not exist'],
    [temp.path, 'it is a folder'],
    [temp.join('empty.pem'), 'empty.pem is empty'],
    [temp.join('text.pem'), 'text.pem holds no certificate'],
    [pair.key, 'ca.key holds a private key'],
  ] as const) {
    const error = await failureOf(readCa(file))
    expect(error?.code).toBe('CONFIG_INVALID')
    expect(error?.message).toContain(says)
  }
})

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
