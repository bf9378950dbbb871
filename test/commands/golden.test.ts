// Every command of both programs with inputs that are wrong, and what is printed: compared with files that people have read.
// `VARVE_GOLDEN=write` writes these files anew.
import { readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import { program as agentProgram } from '../../agent/main.ts'
import { makeProgram as makeGatewayProgram } from '../../gateway/main.ts'
import { AGENT_ROWS } from './agent-rows.ts'
import { GATEWAY_ROWS, type Rows } from './gateway-rows.ts'
import { commandsOf } from './program-commands.ts'
import { runHere, type Program, type Said } from './run-here.ts'
import { openScene, type Places } from './scene.ts'

/** Wrong inputs that each command has at least. */
const ROWS_MIN = 4

/** Option and place that are added where a row does not name the option. */
const ADDED = { 'varve-gateway': ['--data', '@data'], 'varve-agent': ['--config', '@config'] } as const

const placed = (text: string, places: Places): string =>
  Object.entries(places)
    .toSorted(([a], [b]) => b.length - a.length)
    .reduce((before, [word, place]) => before.replaceAll(word, place), text)

/** What a run printed with everything that is another one the next time taken out. */
const settled = (text: string, places: Places, folder: string): string => {
  const byLength = Object.entries(places).toSorted(([, a], [, b]) => b.length - a.length)
  return byLength
    .reduce((before, [word, place]) => before.replaceAll(place, word), text)
    .replaceAll(folder, '@temp')
    .replaceAll(process.cwd(), '@here')
    .replaceAll(/\.[0-9a-f]{8}\.(?=varve)/gu, '.<n>.')
    .replaceAll(/\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d{3}Z)?/gu, '<time>')
    .replaceAll(/"(durationMs|expiresMs|timeMs)":\d+/gu, '"$1":<n>')
    .replaceAll(/[\d.]+ [KMGTP]iB/gu, '<size>')
    .replaceAll(/\/proc\/self\/fd\/\d+/gu, '/proc/self/fd/<n>')
}

const quoted = (arg: string): string => (/^[\w@%+=:,./~-]+$/u.test(arg) ? arg : JSON.stringify(arg))

const marked = (text: string, mark: string): string[] =>
  text === ''
    ? []
    : text
        .trimEnd()
        .split('\n')
        .map((line) => `${mark} ${line}`.trimEnd())

const entry = (command: string, { code, stdout, stderr }: Said): string =>
  [`$ ${command}`, `[${code}]`, ...marked(stdout, '>'), ...marked(stderr, '!'), ''].join('\n')

const argsOf = (program: Program, args: readonly string[]): readonly string[] => {
  const [option, place] = ADDED[program]
  return args.includes(option) || args.includes('--gateway') ? args : [...args, option, place]
}

const tableOf = async (program: Program, rows: Rows): Promise<string> => {
  await using scene = await openScene()
  const { places, temp } = scene
  const parts = [
    `What ${program} says to inputs that are wrong. Lines: $ the command, [exit code], > standard output, ! standard error.`,
    'Words with @ stand for places of the test (test/commands/scene.ts). Written by: VARVE_GOLDEN=write npm test -- test/commands/golden.test.ts',
    '',
  ]
  for (const [command, inputs] of Object.entries(rows)) {
    parts.push(`## ${command}`, '')
    for (const input of inputs) {
      const args = [...command.split(' '), ...argsOf(program, input)]
      const said = await runHere(
        program,
        args.map((arg) => placed(arg, places)),
      )
      const shown = [...command.split(' '), ...input].map(quoted).join(' ')
      parts.push(
        entry(`${program} ${shown}`, {
          code: said.code,
          stdout: settled(said.stdout, places, temp.path),
          stderr: settled(said.stderr, places, temp.path),
        }),
      )
    }
  }
  return parts.join('\n')
}

const wholeNames = (rows: Rows): string[] => Object.keys(rows).filter((name) => rows[name]!.length >= ROWS_MIN)

test('every command of both programs has its wrong inputs', () => {
  expect(wholeNames(GATEWAY_ROWS).toSorted()).toEqual(commandsOf(makeGatewayProgram()).toSorted())
  expect(wholeNames(AGENT_ROWS).toSorted()).toEqual(commandsOf(agentProgram).toSorted())
})

test.each([
  ['varve-gateway', GATEWAY_ROWS],
  ['varve-agent', AGENT_ROWS],
] as const)('%s says what its golden file says', async (program, rows) => {
  const file = path.join(import.meta.dirname, 'golden', `${program}.txt`)
  const table = await tableOf(program, rows)
  if (process.env['VARVE_GOLDEN'] === 'write') await writeFile(file, table)
  expect(table).toBe(await readFile(file, 'utf8'))
  // nothing that a person types or forgets is our own fault
  expect(table).not.toContain('INTERNAL')
})
