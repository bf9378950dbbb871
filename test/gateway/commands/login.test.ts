// The login command: the link alone on standard output, under the address where the page is, and a code in no log.
import { readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { pageAddress } from '../../../gateway/commands/login.ts'
import { openSession } from '../../../protocol/client.ts'
import { systemClock } from '../../../protocol/host/clock.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { EXIT } from '../../../protocol/host/exit.ts'
import { SUBPROTOCOL } from '../../../protocol/limits.ts'
import { runHere } from '../../commands/run-here.ts'
import { tempFolder } from '../../support/temp.ts'
import { runGateway, ServingGateway } from '../program.ts'

const codeIn = (link: string): string => /#\/login\/([\w-]{32})$/u.exec(link.trim())![1]!

/** Signs in as a page does. */
const signIn = (url: string, code: string) => {
  const socket = new WebSocket(`${url}/rpc`, SUBPROTOCOL)
  const who = { program: 'test', serving: false, token: null, handlers: {}, clock: systemClock }
  return openSession({ socket, ...who, code })
}

test('the address of the page is that of the gateway, as a browser takes it', () => {
  expect(pageAddress('wss://backup.example:8470')).toBe('https://backup.example:8470/')
  expect(pageAddress('ws://127.0.0.1:8470')).toBe('http://127.0.0.1:8470/')
  expect(pageAddress('https://a.example/varve')).toBe('https://a.example/varve/')
  expect(pageAddress('https://a.example/varve/?x=1#/days')).toBe('https://a.example/varve/')
  expect(pageAddress('http://0.0.0.0:8470/', 'here')).toBe('http://here:8470/')
  expect(pageAddress('ws://[::]:8470', 'here')).toBe('http://here:8470/')
  expect(pageAddress('ws://[::1]:8470', 'here')).toBe('http://[::1]:8470/')
})

test('the link is alone on standard output, signs in, and its code is in no log', async () => {
  await using temp = await tempFolder()
  const data = temp.join('data')
  await using gateway = await ServingGateway.start(['--data', data, '--log-level', 'debug'])
  await runGateway(['tenant', 'add', 'acme', '--data', data])
  const said = await runHere('varve-gateway', ['login', '--data', data, '--tenant', 'acme', '--role', 'viewer'])
  expect(said).toMatchObject({ code: EXIT.ok, stderr: expect.stringMatching(/5 minutes.*viewer.*8 h/u) as string })
  expect(said.stdout).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/#\/login\/[\w-]{32}\n$/u)
  expect(said.stdout.startsWith(gateway.url.replace('ws', 'http'))).toBe(true)
  const code = codeIn(said.stdout)
  const session = await signIn(gateway.url, code)
  expect(session.welcome).toMatchObject({ subject: 'administrator', role: 'viewer', tenant: 'acme' })
  await expect(signIn(gateway.url, code)).rejects.toMatchObject({ code: 'LOGIN_CODE_INVALID' })
  session.peer.close(new VarveError('CANCELLED', 'done'))
  const ended = await gateway.stop('SIGTERM')
  expect(ended.stderr).toContain('session opens')
  for (const secret of [code, session.welcome.token!]) expect(ended.stderr + ended.stdout).not.toContain(secret)
  const catalog = await readFile(`${data}/catalog.db`, 'latin1')
  for (const secret of [code, session.welcome.token!]) expect(catalog).not.toContain(secret)
})

test('the platform, a name of its own and JSON are asked for; what cannot work is refused', async () => {
  await using temp = await tempFolder()
  const data = temp.join('data')
  const at = ['--data', data]
  await using first = await ServingGateway.start(at)
  await runGateway(['tenant', 'add', 'acme', ...at])
  await first.stop('SIGTERM')
  const stopped = await runHere('varve-gateway', ['login', '--tenant', 'acme', ...at])
  expect(stopped).toMatchObject({ code: EXIT.unreachable, stdout: '' })
  expect(stopped.stderr).toContain('varve-gateway serve')
  await using gateway = await ServingGateway.start(['--data', data])
  const given = ['--url', 'https://proxy.example/varve', '--subject', 'anna', '--ttl', '15m', '--json']
  const said = await runHere('varve-gateway', ['login', '--role', 'platform', ...given, ...at])
  const document = JSON.parse(said.stdout) as { link: string }
  expect(document).toMatchObject({ tenant: null, subject: 'anna', role: 'platform' })
  expect(document.link).toMatch(/^https:\/\/proxy\.example\/varve\/#\/login\//u)
  const session = await signIn(gateway.url, codeIn(document.link))
  expect(session.welcome).toMatchObject({ subject: 'anna', role: 'platform', tenant: null })
  expect(session.welcome.expiresMs).toBeLessThanOrEqual(Date.now() + 16 * 60_000)
  session.peer.close(new VarveError('CANCELLED', 'done'))
  for (const args of [
    ['--url', 'backup.example'],
    ['--url', 'ftp://a'],
    [],
    ['--role', 'agent'],
    ['--ttl', '91d', '--tenant', 'acme'],
  ])
    expect([args, (await runHere('varve-gateway', ['login', ...args, ...at])).code]).toEqual([args, EXIT.usage])
})
