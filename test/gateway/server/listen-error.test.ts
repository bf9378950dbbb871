// What is said about an address that cannot be listened on: each way to write it wrongly, and what the system has against it.
import { expect, test } from 'vitest'
import { listenError, listenProblem, localListenError } from '../../../gateway/server/listen-error.ts'

const EXAMPLE = '127.0.0.1:8470'

test.each([
  ['', 'it is empty'],
  ['8470', '127.0.0.1:8470, or 0.0.0.0:8470'],
  [':8470', '127.0.0.1:8470, or 0.0.0.0:8470'],
  ['backup.example', 'has no port: backup.example:8470'],
  ['backup.example:', 'has no port: backup.example:8470'],
  ['[::1]', 'has no port: [::1]:8470'],
  ['::1', 'in brackets'],
  ['::1:8470', 'in brackets: [::1]:8470'],
  ['fe80::1:8470', 'in brackets: [fe80::1]:8470'],
  ['a:99999', '99999 is no port'],
  ['wss://a:8470', 'leave that out'],
  ['two words:8470', 'got "two words:8470"'],
])('"%s": %s', (text, words) => {
  expect(listenProblem(text, EXAMPLE)).toContain(words)
  expect(listenProblem(text, EXAMPLE)).toContain(EXAMPLE)
})

test.each([
  ['EADDRINUSE', 'another program'],
  ['EACCES', 'below 1024'],
  ['EADDRNOTAVAIL', 'does not have that address'],
  ['ENOTFOUND', 'has no address'],
  ['ESTRANGE', 'the words of the system'],
])('%s is a fault of the configuration that names the address', (code, words) => {
  const error = Object.assign(new Error('the words of the system'), { code })
  expect(listenError('a:1', error)).toMatchObject({
    code: 'CONFIG_INVALID',
    message: expect.stringMatching(new RegExp(`^cannot listen on a:1: .*${words}`, 'u')) as string,
  })
})

test('the local socket is named with its path', () => {
  const error = Object.assign(new Error('no'), { code: 'EPERM' })
  expect(localListenError('/data/gateway.sock', error)).toMatchObject({
    code: 'CONFIG_INVALID',
    message: expect.stringMatching(
      /^cannot listen on \/data\/gateway\.sock: its file system supports no sockets/u,
    ) as string,
  })
})
