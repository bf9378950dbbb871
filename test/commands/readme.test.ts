// README's table of commands has the options that the programs have, and no others.
import { readFileSync } from 'node:fs'
import path from 'node:path'
import type { Command } from 'commander'
import { expect, test } from 'vitest'
import { program as agentProgram } from '../../agent/main.ts'
import { makeProgram } from '../../gateway/main.ts'
import { commandsOf } from './program-commands.ts'

const README = readFileSync(path.join(import.meta.dirname, '../../README.md'), 'utf8')

/** What the text below the table says of all commands. */
const OF_ALL: ReadonlySet<string> = new Set(['--data', '--config', '--json'])

const find = (program: Command, name: string): Command =>
  name.split(' ').reduce((at, part) => at.commands.find((one) => one.name() === part)!, program)

const optionsOf = (program: Command, name: string): string[] =>
  find(program, name)
    .options.map(({ long }) => long ?? '')
    .filter((long) => !OF_ALL.has(long))

/** `--keep-… N` of a row stands for all that begin so. */
const isNamed = (option: string, words: readonly string[]): boolean =>
  words.includes(option) || words.some((word) => word.endsWith('-') && option.startsWith(word))

/** The rows of a program that name a command, each the text of its first cell. */
const rowsOf = (program: Command, name: string): string[] =>
  README.split('\n').filter((line) => {
    const cell = line.split(/(?<!\\)\|/u)[1] ?? ''
    return (
      cell.includes(`\`${program.name()} `) && new RegExp(`(?:\`|${program.name()} )${name}(?:[ \`]|$)`, 'u').test(cell)
    )
  })

const wordsOf = (row: string): string[] =>
  [...row.split(/(?<!\\)\|/u)[1]!.matchAll(/--[a-z-]+/gu)].map(([word]) => word)

test.each([makeProgram(), agentProgram])(
  'every option of %s is in the table, and every one in it exists',
  (program) => {
    const seen = new Map<string, string[]>()
    for (const name of commandsOf(program)) {
      const rows = rowsOf(program, name)
      const words = rows.flatMap(wordsOf)
      const options = optionsOf(program, name)
      const unnamed = options.filter(
        (option) =>
          !isNamed(option, words) && !(/-(?:daily|weekly|monthly)$/u.test(option) && words.includes('--keep-yearly')),
      )
      expect([name, rows.length > 0, unnamed]).toEqual([name, true, []])
      for (const row of rows) seen.set(row, [...(seen.get(row) ?? []), ...options])
    }
    for (const [row, options] of seen)
      for (const word of wordsOf(row))
        if (!word.endsWith('-') && !OF_ALL.has(word)) expect(options, row).toContain(word)
  },
)
