// README's lists of commands name every command that the programs have, and no others.
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { program as agentProgram } from '../../agent/main.ts'
import { makeProgram } from '../../gateway/main.ts'
import { commandsOf } from './program-commands.ts'

const README = readFileSync(path.join(import.meta.dirname, '../../README.md'), 'utf8')

/** The commands in backticks in the list of this program, up to the next list or paragraph in bold. */
const namedIn = (program: string): string[] => {
  const [, list = ''] = README.split(`\n\`${program}\`, for `)
  const [own = ''] = list.split(/\n(?:`varve-|\*\*)/u, 1)
  return [...own.matchAll(/`([a-z][a-z -]*)`/gu)].map(([, name]) => name!)
}

test.each([makeProgram(), agentProgram])('the list of $_name has its commands and no others', (program) => {
  expect(namedIn(program.name()).toSorted()).toEqual(commandsOf(program).toSorted())
})
