// Which gateway a command's options and the environment select, and as whom.
import { expect, test } from 'vitest'
import { personState, wayOf, type WayOptions } from '../../../agent/commands/way.ts'

const URL = 'wss://backup.example:8470'

test.each<[WayOptions, NodeJS.ProcessEnv, unknown]>([
  [{}, {}, { config: '/etc/varve/agent.toml' }],
  [{}, { VARVE_AGENT_CONFIG: '/srv/a.toml' }, { config: '/srv/a.toml' }],
  [{ config: 'b.toml' }, { VARVE_AGENT_CONFIG: '/srv/a.toml', VARVE_GATEWAY: URL }, { config: 'b.toml' }],
  [{ gateway: URL, tokenFile: 't' }, { VARVE_AGENT_CONFIG: 'x' }, { gateway: URL, tokenFile: 't', ca: undefined }],
  [
    { ca: 'c' },
    { VARVE_GATEWAY: URL, VARVE_TOKEN_FILE: 't', VARVE_CA: 'other' },
    { gateway: URL, tokenFile: 't', ca: 'c' },
  ],
])('%j and %j lead somewhere', (options, env, way) => {
  expect(wayOf(options, env)).toEqual(way)
})

test.each<[WayOptions, NodeJS.ProcessEnv, string]>([
  [{ config: 'a', gateway: URL }, {}, 'exclude each other'],
  [{ tokenFile: 't' }, {}, 'go with --gateway'],
  [{ config: 'a', ca: 'c' }, { VARVE_GATEWAY: URL }, 'go with --gateway'],
  [{}, { VARVE_AGENT_CONFIG: 'a', VARVE_GATEWAY: URL }, 'are both set'],
  [{ gateway: URL }, {}, 'a token is needed'],
  [{ gateway: 'ws://backup.example', tokenFile: 't' }, {}, 'is not encrypted'],
])('%j and %j do not', (options, env, why) => {
  expect(() => wayOf(options, env)).toThrow(why)
})

test('a person’s notes are in the user’s own state folder', () => {
  expect(personState({ XDG_STATE_HOME: '/srv/state' })).toBe('/srv/state/varve')
  expect(personState({ XDG_STATE_HOME: 'state' })).toMatch(/^\/.*\/\.local\/state\/varve$/u)
})
