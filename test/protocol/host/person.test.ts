// A person's way to a gateway, from options and the environment.
import { expect, test } from 'vitest'
import { awayOf } from '../../../protocol/host/person.ts'

const URL = 'wss://backup.example:8470'

test('an option goes before its variable, and an empty variable is none', () => {
  const env = { VARVE_TOKEN_FILE: '/env/token', VARVE_CA: '/env/ca' }
  expect(awayOf(URL, {}, env)).toEqual({ gateway: URL, tokenFile: '/env/token', ca: '/env/ca' })
  expect(awayOf(URL, { tokenFile: '-', ca: 'ca' }, env)).toEqual({ gateway: URL, tokenFile: '-', ca: 'ca' })
  expect(awayOf(URL, { tokenFile: 't' }, { VARVE_CA: '' }).ca).toBeUndefined()
})

test('without a token, or with an address that is none, nothing is tried', () => {
  expect(() => awayOf(URL, {}, { VARVE_TOKEN_FILE: '' })).toThrow('a token is needed, as "varve-gateway token issue"')
  expect(() => awayOf('https://backup.example', { tokenFile: 't' }, {})).toThrow('is not a WebSocket address')
  expect(() => awayOf('ws://backup.example', { tokenFile: 't' }, {})).toThrow('is not encrypted; use wss://')
  expect(() => awayOf('wss://me:word@backup.example', { tokenFile: 't' }, {})).toThrow('the token says who you are')
})
