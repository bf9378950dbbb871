// The keys command: keys that are lost are told of by every command, and made anew by this one alone.
import { rm } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { EXIT } from '../../../protocol/host/exit.ts'
import { startGateway, TENANT } from '../../support/gateway.ts'
import { tempFolder } from '../../support/temp.ts'
import { runGateway, ServingGateway } from '../program.ts'

test('a start without its keys is refused; after keys new agents go on and tokens can be issued', async () => {
  await using temp = await tempFolder()
  const data = temp.join('data')
  {
    await using gateway = await startGateway({ folder: data })
    await gateway.enrolAgent(temp.join('state'))
  }
  await rm(temp.join('data', 'keys'), { recursive: true })
  const issue = ['token', 'issue', '--tenant', TENANT, '--role', 'viewer', '--data', data]
  for (const args of [['serve', '--listen', '127.0.0.1:0', '--data', data], issue]) {
    const refused = await runGateway(args)
    expect([refused.code, refused.stderr]).toEqual([EXIT.refused, expect.stringContaining('keys new (KEYS_MISSING)')])
  }
  const made = await runGateway(['keys', 'new', '--json', '--data', data])
  expect([made.code, Object.keys(JSON.parse(made.stdout) as object)]).toEqual([EXIT.ok, ['key']])
  await using gateway = await ServingGateway.start(['--data', data])
  expect(gateway.url).toContain('127.0.0.1')
})
