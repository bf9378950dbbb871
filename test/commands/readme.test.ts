// README's tables of commands name every command that the programs have, and no others.
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { program as agentProgram } from '../../agent/main.ts'
import { makeProgram } from '../../gateway/main.ts'
import { commandsOf } from './program-commands.ts'

const README = readFileSync(path.join(import.meta.dirname, '../../README.md'), 'utf8')

/** The words in backticks of the first cells of the table under this heading. */
const namedIn = (program: string): string[] => {
  const [, table = ''] = README.split(`| \`${program}\` `)
  const rows = table.split('\n\n', 1)[0]!.split('\n').slice(2)
  return rows.flatMap((row) => [...row.split('|')[1]!.matchAll(/`([^`]+)`/gu)].map(([, name]) => name!))
}

test.each([makeProgram(), agentProgram])('the table of $_name has its commands and no others', (program) => {
  expect(namedIn(program.name()).toSorted()).toEqual(commandsOf(program).toSorted())
})
