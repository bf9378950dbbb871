// What is a gateway's address, and what is not, in words.
import { expect, test } from 'vitest'
import { addressFault } from '../../../protocol/host/gateway-address.ts'

test('an address is encrypted or stays on this host, and is nothing but scheme, host and port', () => {
  for (const good of ['wss://backup.example:8470', 'ws://127.0.0.1:1', 'ws://[::1]:1'])
    expect(addressFault(good, false)).toBeNull()
  for (const [text, why] of [
    ['backup.example', 'does not begin with wss://'],
    ['https://backup.example', 'use "wss://backup.example"'],
    ['wss://backup.example/rpc', 'leave "/rpc" out'],
    ['wss://me:word@backup.example', 'no user and no password'],
    ['ws://backup.example', 'is not encrypted'],
  ] as const)
    expect(addressFault(text, false)).toContain(why)
  expect(addressFault('ws://backup.example', true)).toBeNull()
})
