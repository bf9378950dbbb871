// The commands that a program has, asked of the program itself.
import type { Command } from 'commander'

/** Names of the commands that do something, such as `tenant add`. */
export const commandsOf = ({ commands }: Pick<Command, 'commands'>, before = ''): string[] =>
  commands.flatMap((one) => {
    const name = `${before}${one.name()}`
    return one.commands.length === 0 ? [name] : commandsOf(one, `${name} `)
  })
