// The sentences about what does not fit, in a file and on the wire.
import { expect, test } from 'vitest'
import * as v from 'valibot'
import { METHODS } from '../../protocol/methods.ts'
import { misfit } from '../../protocol/misfit.ts'

const file = v.strictObject({
  gateway: v.pipe(v.string(), v.startsWith('ws', 'an address such as "wss://backup.example:8470"')),
  limit: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(60)), 10),
  level: v.optional(v.picklist(['debug', 'info', 'warn']), 'info'),
  insecure: v.optional(v.boolean(), false),
  machine: v.optional(
    v.pipe(
      v.array(
        v.strictObject({
          name: v.pipe(v.string(), v.regex(/^\w+$/u, 'letters and digits')),
          qmp: v.pipe(v.string(), v.startsWith('/', 'an absolute path')),
          exclude: v.optional(v.array(v.string()), []),
        }),
      ),
      v.maxLength(2),
    ),
    [],
  ),
})

const machine = { name: 'db1', qmp: '/q' }
const gateway = 'wss://x'

const inFile: readonly (readonly [value: unknown, sentence: string])[] = [
  [{}, '"gateway" is missing'],
  [{ gatewy: gateway }, 'unknown key "gatewy"; did you mean "gateway"?'],
  [{ gateway, zzz: 1 }, 'unknown key "zzz"; known are: gateway, limit, level, insecure, machine'],
  [{ gateway: 5 }, 'gateway: must be a text, not 5'],
  [{ gateway: 'http' }, 'gateway: must be an address such as "wss://backup.example:8470", not "http"'],
  [{ gateway, limit: 1.5 }, 'limit: must be a whole number, not 1.5'],
  [{ gateway, limit: 0 }, 'limit: must be at least 1, not 0'],
  [{ gateway, limit: 61 }, 'limit: must be at most 60, not 61'],
  [{ gateway, level: 'loud' }, 'level: must be "debug", "info" or "warn", not "loud"'],
  [{ gateway, insecure: 'yes' }, 'insecure: must be true or false, not "yes"'],
  [{ gateway, insecure: new Date(0) }, 'insecure: must be true or false, not a time'],
  [{ gateway, machine }, 'machine: must be a list, not a table'],
  [{ gateway, machine: ['a'] }, 'machine, entry 1: must be a table, not "a"'],
  [{ gateway, machine: [machine, machine, machine] }, 'machine: must be at most 2 entries long, not a list of 3'],
  [
    { gateway, machine: [machine, { name: 'db2', qmpp: '/q' }] },
    'unknown key "qmpp" in [[machine]] 2 ("db2"); did you mean "qmp"?',
  ],
  [{ gateway, machine: [{ qmp: '/q' }] }, '"name" is missing in [[machine]] 1'],
  [{ gateway, machine: [{ ...machine, qmp: 'q' }] }, '[[machine]] 1 ("db1"), qmp: must be an absolute path, not "q"'],
  [{ gateway, machine: [{ ...machine, name: '-' }] }, '[[machine]] 1 ("-"), name: letters and digits (it is "-")'],
  [
    { gateway, machine: [{ ...machine, exclude: ['a', 7] }] },
    '[[machine]] 1 ("db1"), exclude, entry 2: must be a text, not 7',
  ],
]

test.each(inFile)('in a file: %j', (value, sentence) => {
  const { issues } = v.safeParse(file, value)
  expect(misfit(file, issues!, { toml: true })).toBe(sentence)
})

const ids = new Uint8Array(31)
const up = METHODS['image.upload'].up.message
const start = METHODS['backup.start'].params
const compare = METHODS['image.compare'].params
const onWire: readonly (readonly [schema: v.GenericSchema, value: unknown, sentence: string])[] = [
  [up, 5, 'must be a list, not 5'],
  [up, null, 'must be a list, not nil'],
  [up, [7, 1], 'begins with 7, must begin with 0, 1 or 2'],
  [up, [], 'begins with nothing, must begin with 0, 1 or 2'],
  [up, [0, 5], '[1]: must be a list, not 5'],
  [up, [0, []], '[1]: must be at least 1 entries long, not a list of 0'],
  [
    up,
    [
      0,
      [
        [0, 1],
        [0, 0],
      ],
    ],
    '[1][1][1]: must be at least 1, not 0',
  ],
  [up, [0, [[9, 1]]], '[1][0]: begins with 9, must begin with 0, 1 or 2'],
  [up, [0, [[2, ids]]], '[1][0][1]: is not valid'],
  [up, [1, ids, ids], 'the heads of the chunks do not fit their bytes (it is a list of 3)'],
  [start, { machine: 'db1' }, '"full" is missing'],
  [start, { machine: 'db1', full: 1 }, 'full: must be true or false, not 1'],
  [start, { machine: { x: 1 }, full: true }, 'machine: must be a text, not a map'],
  [compare, { job: 'x', disk: 'd', positions: [0], ids }, 'job: not an id (it is "x")'],
  [v.object({ token: v.number() }), { token: 'x'.repeat(41) }, 'token: must be a number, not a text of 41 characters'],
]

test.each(onWire)('on the wire %#', (schema, value, sentence) => {
  const { issues } = v.safeParse(schema, value, { abortEarly: true })
  expect(misfit(schema, issues!)).toBe(sentence)
})

test('what stands below secrets is never quoted', () => {
  const schema = v.object({ secrets: v.object({ token: v.pipe(v.string(), v.maxLength(3)), kind: v.picklist(['a']) }) })
  for (const secrets of [
    { token: 'hush-hush', kind: 'a' },
    { token: 'abc', kind: 'hush-hush' },
  ]) {
    const { issues = [] } = v.safeParse(schema, { secrets })
    expect(misfit(schema, issues)).toMatch(/^secrets\.\w+: must be .+, not a text of 9 characters$/u)
  }
})
