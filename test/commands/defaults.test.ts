// What help shows as a default is what one would type: every one of them goes through its own parser.
import type { Command, Option } from 'commander'
import { expect, test } from 'vitest'
import { program as agentProgram } from '../../agent/main.ts'
import { LISTEN_DEFAULT, parseMemory, parseReserve } from '../../gateway/commands/serve.ts'
import { size } from '../../gateway/commands/options.ts'
import { parseListen } from '../../gateway/server/listen-address.ts'
import { makeProgram } from '../../gateway/main.ts'
import { durationMs } from '../../protocol/host/duration.ts'

interface Found {
  readonly where: string
  readonly option: Option
}

const optionsOf = ({ commands, options }: Command, before: string): Found[] => [
  ...options.map((option) => ({ where: `${before}${option.flags}`, option })),
  ...commands.flatMap((one) => optionsOf(one, `${before}${one.name()} `)),
]

const all = [...optionsOf(makeProgram(), 'varve-gateway '), ...optionsOf(agentProgram, 'varve-agent ')]

test('a default that an option has a parser for is accepted by it, as help shows it, and means the same', () => {
  const parsed = all.filter(({ option }) => option.parseArg !== undefined && option.defaultValue !== undefined)
  expect(parsed.length).toBeGreaterThan(3)
  for (const { where, option } of parsed) {
    const shown = option.defaultValueDescription ?? String(option.defaultValue)
    expect([where, option.parseArg!(shown, undefined as never)]).toEqual([where, option.defaultValue])
  }
})

test('a number is never shown as a default without the words of a person', () => {
  const bare = all.filter(
    ({ option }) => typeof option.defaultValue === 'number' && option.defaultValueDescription === undefined,
  )
  expect(bare.map(({ where }) => where)).toEqual([])
})

test('what the words of an option name as its default is accepted', () => {
  const words = all.flatMap(({ option }) => {
    const text = /\(default: ([^;,)]+)/u.exec(option.description)?.[1]
    return text === undefined ? [] : [[option.long, text] as const]
  })
  const known: Readonly<Record<string, (text: string) => unknown>> = {
    '--listen': (text) => parseListen(text, LISTEN_DEFAULT),
    '--reserve': parseReserve,
    '--memory': parseMemory,
    // of a command that works: the time to begin
    '--timeout': (text) => durationMs(text.replace(/ to begin$/u, '')),
    '--log-level': (text) => expect(['info']).toContain(text),
    '--data': (text) => expect(text).toMatch(/^\//u),
    '--config': (text) => expect(text).toMatch(/^\//u),
    '--time-zone': (text) => expect(text).toBe('UTC'),
    '--tenant': (text) => expect(text).toBe('all'),
    '--uri': (text) => expect(text).toBe('those of the configuration and of this host'),
    '--quiet-hours': (text) => expect(text).toBe('always'),
    '--verify-rate': size,
    '--limit': (text) => expect(['no limit', 'all']).toContain(text),
  }
  expect(words.filter(([long]) => long === null || long === undefined || known[long] === undefined)).toEqual([])
  for (const [long, text] of words) known[long!]!(text)
  expect(words).toContainEqual(['--listen', LISTEN_DEFAULT])
})
