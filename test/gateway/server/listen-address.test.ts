// An address to listen on: what is one, and what is loopback.
import { expect, test } from 'vitest'
import { isLoopback, parseListen } from '../../../gateway/server/listen-address.ts'

const EXAMPLE = '127.0.0.1:8470'

test('an address is a host and a port', () => {
  expect(parseListen('127.0.0.1:8470', EXAMPLE)).toEqual({ host: '127.0.0.1', port: 8470 })
  expect(parseListen('[::1]:0', EXAMPLE)).toEqual({ host: '::1', port: 0 })
  expect(parseListen('backup.example:65535', EXAMPLE)).toEqual({ host: 'backup.example', port: 65_535 })
  for (const text of ['', '8470', ':8470', '127.0.0.1', '127.0.0.1:', 'a:65536', '::1:80', 'a:b', '[a]:1:2'])
    expect(() => parseListen(text, EXAMPLE)).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }))
})

test('loopback is what never leaves the machine', () => {
  const hosts = [
    '127.0.0.1',
    '127.9.9.9',
    '::1',
    'localhost',
    '0.0.0.0',
    '::',
    '10.0.0.1',
    '127.evil.example',
    '1.127.0.0',
  ]
  expect(hosts.filter(isLoopback)).toEqual(['127.0.0.1', '127.9.9.9', '::1', 'localhost'])
})
